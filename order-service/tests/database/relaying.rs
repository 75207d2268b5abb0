//! A relay of a test's own, what it is to publish, and what has arrived.

use crate::rig::{PATIENCE, Shop, settings_with};
use engines::kafka::MockBroker;
use futures_util::FutureExt;
use order_service::kafka::topic_partitions::TopicPartitions;
use order_service::outbox::message::OutboxMessage;
use order_service::outbox::message_headers::MessageHeaders;
use order_service::outbox::relay::{Relay, RelayParts};
use order_service::outbox::relay_metrics::RelayMetrics;
use order_service::outbox::wake_up::WakeUp;
use order_service::settings::Settings;
use order_service::storage::database::Database;
use order_service::storage::error::DatabaseError;
use order_service::storage::transaction_completion::{Outcome, in_transaction};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use service_chassis::alarms::Alarms;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, block_in_place};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const TOPIC: &str = "order-completed";
pub(crate) const PARTITIONS: i32 = 3;

pub(crate) struct RunningRelay {
    pub(crate) stop: CancellationToken,
    pub(crate) alarms: Alarms,
    pub(crate) metrics: RelayMetrics,
    pub(crate) task: JoinHandle<()>,
}

impl RunningRelay {
    pub(crate) fn start(shop: &Shop, settings: &Settings, wake_up: WakeUp) -> Self {
        let partitions = TopicPartitions::default();
        partitions.are(PARTITIONS as usize);
        Self::start_knowing(partitions, shop, settings, wake_up)
    }

    pub(crate) fn start_knowing(
        partitions: TopicPartitions,
        shop: &Shop,
        settings: &Settings,
        wake_up: WakeUp,
    ) -> Self {
        let (stop, alarms) = (CancellationToken::new(), Alarms::new());
        let (kafka, relay) = (settings.kafka.clone(), settings.relay.clone());
        let metrics = RelayMetrics::default();
        let parts = RelayParts { wake_up, alarms: alarms.clone(), partitions, metrics: metrics.clone() };
        let relay = Relay::new(shop.database.clone(), kafka, relay, parts).unwrap();
        Self { task: tokio::spawn(relay.run(stop.clone())), stop, alarms, metrics }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

pub(crate) fn broker() -> MockBroker {
    let broker = MockBroker::start(3).unwrap();
    broker.create_topic(TOPIC, PARTITIONS, 3).unwrap();
    broker
}

pub(crate) fn relay_settings(shop: &Shop, broker: &MockBroker, changes: &[(&str, &str)]) -> Settings {
    let (url, servers) = (shop.own.url(), broker.bootstrap_servers());
    let own = [("DATABASE__URL", url.as_str()), ("KAFKA__BOOTSTRAP_SERVERS", servers.as_str())];
    settings_with(&own.into_iter().chain(changes.iter().copied()).collect::<Vec<_>>())
}

pub(crate) fn message(key: &str, number: usize) -> OutboxMessage {
    let event_id = Uuid::now_v7();
    OutboxMessage {
        topic: TOPIC.to_owned(),
        key: key.to_owned(),
        event_id,
        payload: number.to_string(),
        headers: MessageHeaders::of([
            ("ce_type", "order-completed.v1"),
            ("ce_id", event_id.to_string().as_str()),
        ]),
    }
}

pub(crate) async fn commit(shop: &Shop, messages: Vec<OutboxMessage>, wake_up: WakeUp) {
    commit_to(&shop.database, messages, wake_up).await;
}

pub(crate) async fn commit_to(database: &Database, messages: Vec<OutboxMessage>, wake_up: WakeUp) {
    let outcome: Outcome<(), DatabaseError> = in_transaction(database, move |transaction| {
        for message in messages {
            transaction.publish(message);
        }
        transaction.after_commit(move || wake_up.wake());
        async { Ok(()) }.boxed()
    })
    .await;
    assert!(matches!(outcome, Outcome::Committed(())), "{outcome:?}");
}

/// Messages 0..count over so many keys, committed ten at a time.
pub(crate) async fn commit_many(shop: &Shop, count: usize, keys: usize) {
    let all: Vec<OutboxMessage> = (0..count).map(|n| message(&format!("key {}", n % keys), n)).collect();
    for some in all.chunks(10) {
        commit(shop, some.to_vec(), WakeUp::default()).await;
    }
}

/// Reads the topic from its beginning until `enough`, or fails.
pub(crate) fn records_until(
    broker: &MockBroker,
    enough: impl Fn(&[OwnedMessage]) -> bool,
) -> Vec<OwnedMessage> {
    block_in_place(|| {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap_servers())
            .set("group.id", Uuid::new_v4().to_string())
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while !enough(&records) {
            assert!(Instant::now() < deadline, "only {} records arrived", records.len());
            if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
                records.push(record.detach());
            }
        }
        records
    })
}

pub(crate) fn number(record: &OwnedMessage) -> usize {
    record.payload_view::<str>().unwrap().unwrap().parse().unwrap()
}

pub(crate) fn distinct(records: &[OwnedMessage]) -> usize {
    records.iter().map(number).collect::<BTreeSet<_>>().len()
}

/// First deliveries of each key are in the order of the commits.
pub(crate) fn assert_in_order(records: &[OwnedMessage]) {
    let mut seen: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for record in records {
        let of_key = seen.entry(record.key().unwrap()).or_default();
        if !of_key.contains(&number(record)) {
            of_key.push(number(record));
        }
    }
    for (key, numbers) in seen {
        assert!(numbers.is_sorted(), "{}: {numbers:?}", String::from_utf8_lossy(key));
    }
}

pub(crate) async fn until_outbox_has(shop: &Shop, rows: i64) {
    let session = shop.session().await;
    loop {
        let count: i64 = session.query_one("SELECT count(*) FROM outbox", &[]).await.unwrap().get(0);
        if count == rows {
            return;
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) fn each_broker(
    broker: &MockBroker,
    action: impl Fn(&MockCluster<'_, DefaultProducerContext>, i32),
) {
    (1..=3).for_each(|id| action(&broker.cluster(), id));
}

pub(crate) fn sized(key: &str, number: usize, bytes: usize) -> OutboxMessage {
    let mut sized = message(key, number);
    sized.payload.insert_str(0, &"0".repeat(bytes - sized.payload.len()));
    sized
}

pub(crate) async fn until_alarm(relay: &RunningRelay, name: &str, active: bool) {
    while relay.alarms.active().iter().any(|alarm| alarm.name == name) != active {
        tokio::task::yield_now().await;
    }
}
