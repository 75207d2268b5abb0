//! The audit, over a topic of a mock cluster and a table.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use data_platform_consumer::audit::comparison::{Place, Window};
use data_platform_consumer::audit::report::{Kind, Report};
use data_platform_consumer::audit::{self, Plan};
use data_platform_consumer::delivery::{Event, Record, RecordPosition};
use data_platform_consumer::settings::{DEFAULTS, ENVIRONMENT_PREFIX, Settings};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use service_chassis::settings::{SettingsSource, load_with_environment};
use shared_messages::OccurredAt;
use shared_messages::dead_letter::{Resolution, ResolutionOutcome};
use tokio::task::spawn_blocking;

use crate::cases;
use crate::events::deliver;
use crate::rig::{Platform, Rig};

cases!(
    the_audit_tells_what_is_missing_repeated_unexpected_parked_and_pending,
    a_topic_whose_events_are_all_in_the_table_is_clean_with_and_without_dead_letters,
    a_dead_letter_of_another_group_or_one_that_was_replayed_does_not_hide_what_is_missing,
    the_command_says_by_its_exit_code_whether_the_promise_was_kept,
    a_topic_or_a_table_that_is_not_there_is_no_clean_audit,
);

const TOPIC: &str = "order-completed";
const DEAD_LETTERS: &str = "order-completed-dlt";
const GROUP: &str = "data-platform-consumer";
const LIMIT: Duration = Duration::from_secs(20);

struct Topic {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Topic {
    fn new() -> Self {
        let topic = Self::without_topics();
        topic.create(TOPIC);
        topic
    }

    fn without_topics() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let producer =
            ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        Self { cluster, producer }
    }

    fn create(&self, topic: &str) {
        self.cluster.create_topic(topic, 2, 1).unwrap();
    }

    fn send(&self, topic: &str, value: &[u8], headers: OwnedHeaders) {
        let record = BaseRecord::<(), [u8]>::to(topic).partition(0).payload(value).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(LIMIT).unwrap();
    }

    /// Orders 0, 1, … as the records 0, 1, … of partition 0.
    fn orders(&self, orders: i64) {
        (0..orders).for_each(|order_id| self.send(TOPIC, &value(order_id), OwnedHeaders::new()));
    }

    /// Says of the dead letter at this offset of its own topic that it was replayed.
    fn replayed(&self, dead_letter: i64) {
        let outcome = ResolutionOutcome::Replayed;
        let resolution = Resolution { outcome, resolved_offset: dead_letter, resolved_at: OccurredAt::now() };
        let pairs = resolution.to_pairs();
        let headers = pairs.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let record = BaseRecord::<(), [u8]>::to(DEAD_LETTERS).partition(0).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(LIMIT).unwrap();
    }

    fn park_for(&self, group: &str, offset: i64) {
        let (partition, offset) = (0_i32.to_be_bytes(), offset.to_be_bytes());
        let headers = OwnedHeaders::new()
            .insert(Header { key: "kafka_dlt-original-topic", value: Some(TOPIC.as_bytes()) })
            .insert(Header { key: "kafka_dlt-original-partition", value: Some(&partition[..]) })
            .insert(Header { key: "kafka_dlt-original-offset", value: Some(&offset[..]) })
            .insert(Header { key: "kafka_dlt-original-consumer-group", value: Some(group.as_bytes()) });
        self.send(DEAD_LETTERS, b"{}", headers);
    }

    fn park(&self, offset: i64) {
        let (partition, offset) = (0_i32.to_be_bytes(), offset.to_be_bytes());
        let headers = OwnedHeaders::new()
            .insert(Header { key: "kafka_dlt-original-topic", value: Some(TOPIC.as_bytes()) })
            .insert(Header { key: "kafka_dlt-original-partition", value: Some(&partition[..]) })
            .insert(Header { key: "kafka_dlt-original-offset", value: Some(&offset[..]) });
        self.send(DEAD_LETTERS, b"{}", headers);
    }

    fn commit(&self, offset: i64) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(TOPIC, 0, Offset::Offset(offset)).unwrap();
        consumer.assign(&list).unwrap();
        consumer.commit(&list, CommitMode::Sync).unwrap();
    }
}

fn value(order_id: i64) -> Vec<u8> {
    format!(r#"{{"occurredAt":"2025-05-29T01:43:46Z","orderId":{order_id}}}"#).into_bytes()
}

fn event(partition: i32, order_id: i64) -> Event {
    let position = RecordPosition { topic: TOPIC.into(), partition, offset: order_id };
    Event::decode(Arc::new(Record::new(position, None, None, Some(&value(order_id)), []))).unwrap()
}

async fn audited(topic: &Topic, platform: &Platform) -> Result<Report, audit::AuditError> {
    let (servers, url) = (topic.cluster.bootstrap_servers(), platform.url());
    let variables = [("KAFKA__BOOTSTRAP_SERVERS", servers), ("SINK__POSTGRES__URL", url)];
    let variables =
        variables.map(|(name, value)| (format!("{ENVIRONMENT_PREFIX}__{name}").into(), value.into()));
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
    let settings: Settings = load_with_environment(&source, variables).unwrap().settings;
    let at = |text| OccurredAt::parse(text).unwrap();
    let window = Window { from: at("2025-05-29T01:43:46Z"), to: at("2025-05-30T00:00Z") };
    audit::run(&settings, Plan { window, limit: 10, kafka_timeout: LIMIT }).await
}

fn offsets(kind: &Kind) -> Vec<i64> {
    kind.first().iter().map(|told| told.place.offset).collect()
}

async fn the_audit_tells_what_is_missing_repeated_unexpected_parked_and_pending(rig: Arc<Rig>) {
    let (platform, topic) = (rig.platform().await, Topic::new());
    topic.create(DEAD_LETTERS);
    topic.orders(6);
    // One of an earlier time.
    let earlier = String::from_utf8(value(6)).unwrap().replace(":46Z", ":45Z");
    topic.send(TOPIC, earlier.as_bytes(), OwnedHeaders::new());
    topic.send(TOPIC, b"{", OwnedHeaders::new());
    topic.park(3);
    topic.commit(5);
    let sink = platform.sink(&[]);
    for order_id in [0, 1, 2, 1] {
        deliver(&sink, &event(0, order_id)).await.unwrap();
    }
    let position = RecordPosition { topic: TOPIC.into(), partition: 0, offset: 6 };
    let record = Record::new(position, None, None, Some(earlier.as_bytes()), []);
    deliver(&sink, &Event::decode(Arc::new(record)).unwrap()).await.unwrap();
    // A partition that the topic does not have; and a record that has come since.
    deliver(&sink, &event(7, 0)).await.unwrap();
    deliver(&sink, &event(0, 100)).await.unwrap();

    let report = audited(&topic, &platform).await.unwrap();
    let found = &report.findings;
    assert_eq!(offsets(&found.missing), [4]);
    assert_eq!(offsets(&found.parked), [3]);
    assert_eq!(offsets(&found.pending), [5], "the undecodable record is of Kafka's time, which is later");
    assert_eq!(offsets(&found.repeated), [1]);
    assert_eq!(found.repeated.first()[0].deliveries, Some(2));
    assert_eq!(found.unexpected.first()[0].place, Place { partition: 7, offset: 0 });
    assert_eq!((found.unexpected.count(), report.counts.rows_of_later_records), (1, 1));
    assert_eq!((report.counts.events, report.counts.delivered, report.counts.records_read), (6, 3, 8));
    assert_eq!(report.counts.rows, 5, "those of the window");
    assert!(!report.is_kept());
}

async fn a_dead_letter_of_another_group_or_one_that_was_replayed_does_not_hide_what_is_missing(
    rig: Arc<Rig>,
) {
    let (platform, topic) = (rig.platform().await, Topic::new());
    topic.create(DEAD_LETTERS);
    topic.orders(3);
    topic.commit(3);
    topic.park_for("billing", 0);
    topic.park_for(GROUP, 1);
    topic.park_for(GROUP, 2);
    topic.replayed(2);
    let report = audited(&topic, &platform).await.unwrap();
    assert_eq!((offsets(&report.findings.missing), offsets(&report.findings.parked)), (vec![0, 2], vec![1]));
}

async fn a_topic_whose_events_are_all_in_the_table_is_clean_with_and_without_dead_letters(rig: Arc<Rig>) {
    let (platform, topic) = (rig.platform().await, Topic::new());
    topic.orders(3);
    let sink = platform.sink(&[]);
    for order_id in 0..3 {
        deliver(&sink, &event(0, order_id)).await.unwrap();
    }
    topic.commit(3);
    assert!(audited(&topic, &platform).await.unwrap().is_kept(), "there is no topic of dead letters");
    topic.create(DEAD_LETTERS);
    let report = audited(&topic, &platform).await.unwrap();
    assert!(report.is_kept());
    assert_eq!((report.counts.events, report.counts.delivered, report.counts.rows), (3, 3, 3));
}

/// The program itself, with these arguments.
async fn program(topic: &Topic, platform: &Platform, kind: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-platform-consumer"));
    command
        .args(arguments)
        .env(format!("{ENVIRONMENT_PREFIX}__KAFKA__BOOTSTRAP_SERVERS"), topic.cluster.bootstrap_servers())
        .env(format!("{ENVIRONMENT_PREFIX}__SINK__POSTGRES__URL"), platform.url())
        .env(format!("{ENVIRONMENT_PREFIX}__SINK__KIND"), kind);
    spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn the_command_says_by_its_exit_code_whether_the_promise_was_kept(rig: Arc<Rig>) {
    let (platform, topic) = (rig.empty_platform().await, Topic::new());
    let window = ["audit", "--from", "2025-05-29T00:00Z", "--to", "2025-05-30T00:00Z", "--json"];
    let prepared = program(&topic, &platform, "postgres", &["sink", "prepare"]).await;
    assert!(prepared.status.success(), "{prepared:?}");
    topic.orders(1);
    topic.commit(1);
    let broken = program(&topic, &platform, "postgres", &window).await;
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    let json: serde_json::Value = serde_json::from_slice(&broken.stdout).unwrap();
    assert_eq!((&json["missing"]["count"], &json["missing"]["first"][0]["orderId"]), (&1.into(), &0.into()));
    assert!(String::from_utf8_lossy(&broken.stderr).contains("1 events are missing"), "{broken:?}");

    deliver(&platform.sink(&[]), &event(0, 0)).await.unwrap();
    let kept = program(&topic, &platform, "postgres", &window[..5]).await;
    assert_eq!(kept.status.code(), Some(0), "{kept:?}");
    assert!(String::from_utf8_lossy(&kept.stdout).contains("the promise was kept"), "{kept:?}");

    let other = program(&topic, &platform, "log", &window).await;
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    assert!(String::from_utf8_lossy(&other.stderr).contains("sink.kind"), "{other:?}");
}

async fn a_topic_or_a_table_that_is_not_there_is_no_clean_audit(rig: Arc<Rig>) {
    let (platform, topic) = (rig.empty_platform().await, Topic::new());
    let told = audited(&topic, &platform).await.unwrap_err().to_string();
    assert!(told.contains("sink prepare"), "{told}");
    let (platform, other) = (rig.platform().await, Topic::without_topics());
    let told = audited(&other, &platform).await.unwrap_err().to_string();
    assert!(told.contains("order-completed") && told.contains("kafka.topic"), "{told}");
}
