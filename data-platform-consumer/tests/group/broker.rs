//! A mock cluster with one topic, a producer for it, and the group's committed positions.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use shared_messages::OccurredAt;
use shared_messages::dead_letter::parking_resumed;

pub(crate) const TOPIC: &str = "order-completed";
pub(crate) const DEAD_LETTER_TOPIC: &str = "order-completed-dlt";
pub(crate) const GROUP: &str = "data-platform-consumer";
/// How long anything may take before the test fails. Nothing waits for it unless it fails.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

const VERSION_1: &str = "order-completed.v1";

pub(crate) struct Broker {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Broker {
    pub(crate) fn with_partitions(partitions: i32) -> Self {
        let broker = Self::without_dead_letters(partitions);
        broker.create_dead_letter_topic(partitions);
        broker
    }

    pub(crate) fn without_dead_letters(partitions: i32) -> Self {
        let broker = Self::without_the_topic();
        broker.create_topic(partitions);
        broker
    }

    pub(crate) fn without_the_topic() -> Self {
        let cluster = MockCluster::new(3).unwrap();
        let producer =
            ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        Self { cluster, producer }
    }

    pub(crate) fn create_topic(&self, partitions: i32) {
        self.cluster.create_topic(TOPIC, partitions, 3).unwrap();
    }

    pub(crate) fn create_dead_letter_topic(&self, partitions: i32) {
        self.cluster.create_topic(DEAD_LETTER_TOPIC, partitions, 3).unwrap();
    }

    pub(crate) fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// One order, keyed by its id.
    pub(crate) fn order(&self, partition: i32, order_id: i64) {
        self.keyed_order(partition, &order_id.to_string(), order_id);
    }

    /// Many orders, each keyed by its id, in one go: to wait for each ack takes a tenth of a second.
    pub(crate) fn orders(&self, partition: i32, order_ids: impl IntoIterator<Item = i64>) {
        for order_id in order_ids {
            self.send(partition, &order_id.to_string(), order(order_id).as_bytes(), VERSION_1);
        }
        self.producer.flush(DEADLINE).unwrap();
    }

    /// One order under any key, so that several can share one.
    pub(crate) fn keyed_order(&self, partition: i32, key: &str, order_id: i64) {
        self.record(partition, key, order(order_id).as_bytes(), VERSION_1);
    }

    /// Any record, acked when this returns.
    pub(crate) fn record(&self, partition: i32, key: &str, value: &[u8], event_type: &str) {
        self.send(partition, key, value, event_type);
        self.producer.flush(DEADLINE).unwrap();
    }

    /// One order in a batch that is compressed like this. It is padded, as nothing is compressed that does not become smaller.
    pub(crate) fn compressed_order(&self, codec: &str, order_id: i64) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("compression.codec", codec)
            .create()
            .unwrap();
        let (key, value) = (order_id.to_string(), format!("{}{}", order(order_id), " ".repeat(10_000)));
        producer.send(versioned(0, &key, value.as_bytes(), VERSION_1)).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
    }

    fn send(&self, partition: i32, key: &str, value: &[u8], event_type: &str) {
        self.producer.send(versioned(partition, key, value, event_type)).map_err(|(error, _)| error).unwrap();
    }

    /// Makes this broker the group's coordinator.
    pub(crate) fn coordinate_at(&self, broker: i32) {
        self.cluster.coordinator(MockCoordinator::Group(GROUP.to_owned()), broker).unwrap();
    }

    /// So that a partition may lose its leader: an answer to a newer fetch names the leader, and the mock cluster crashes where
    /// there is none. For before a client has connected.
    pub(crate) fn answers_older_fetches_only(&self) {
        self.cluster.apiversion(RDKafkaApiKey::Fetch, None, Some(11)).unwrap();
    }

    /// Answers fetches with an error from now on, for so long as a test may take.
    pub(crate) fn refuse_fetches(&self) {
        let refusals = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN; 10_000];
        self.cluster.request_errors(RDKafkaApiKey::Fetch, &refusals);
    }

    pub(crate) fn allow_fetches(&self) {
        self.cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    }

    /// Makes this broker, or none, the leader of a partition.
    pub(crate) fn lead(&self, partition: i32, broker: Option<i32>) {
        self.cluster.partition_leader(TOPIC, partition, broker).unwrap();
    }

    pub(crate) fn all_down(&self) {
        (1..=3).for_each(|broker| self.cluster.broker_down(broker).unwrap());
    }

    pub(crate) fn all_up(&self) {
        (1..=3).for_each(|broker| self.cluster.broker_up(broker).unwrap());
    }

    /// What the group has committed for a partition.
    pub(crate) fn committed(&self, partition: i32) -> Option<i64> {
        let consumer = self.bystander();
        let mut list = TopicPartitionList::new();
        list.add_partition(TOPIC, partition);
        let answer = consumer.committed_offsets(list, DEADLINE).unwrap();
        let element = answer.find_partition(TOPIC, partition).unwrap();
        element.error().unwrap();
        element.offset().to_raw().filter(|offset| *offset >= 0)
    }

    pub(crate) fn await_committed(&self, partition: i32, expected: i64) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let committed = self.committed(partition);
            if committed == Some(expected) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "partition {partition}: {committed:?} is committed, not {expected}"
            );
        }
    }

    /// Commits in the group's name, as an operator would.
    pub(crate) fn commit(&self, partition: i32, offset: i64) {
        self.commit_with(partition, offset, "");
    }

    /// With what stands beside the position.
    pub(crate) fn commit_with(&self, partition: i32, offset: i64, metadata: &str) {
        let consumer = self.bystander();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(TOPIC, partition, Offset::Offset(offset)).unwrap();
        consumer.assign(&list).unwrap();
        if !metadata.is_empty() {
            list.find_partition(TOPIC, partition).unwrap().set_metadata(metadata);
        }
        consumer.commit(&list, CommitMode::Sync).unwrap();
    }

    /// What lies in a partition of the dead letters now.
    pub(crate) fn dead_letters(&self, partition: i32) -> Vec<OwnedMessage> {
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("group.id", "nobody")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let (low, high) = reader.fetch_watermarks(DEAD_LETTER_TOPIC, partition, DEADLINE).unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(DEAD_LETTER_TOPIC, partition, Offset::Offset(low)).unwrap();
        reader.assign(&from).unwrap();
        (low..high).map(|_| reader.poll(DEADLINE).unwrap().unwrap().detach()).collect()
    }

    /// Waits until so many dead letters lie in the partition.
    pub(crate) fn await_dead_letters(&self, partition: i32, wanted: usize) -> Vec<OwnedMessage> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let dead_letters = self.dead_letters(partition);
            if dead_letters.len() >= wanted {
                return dead_letters;
            }
            assert!(Instant::now() < deadline, "{} dead letters, not {wanted}", dead_letters.len());
        }
    }

    /// An operator's word that parking goes on.
    pub(crate) fn resume_parking(&self, partition: i32) {
        let pairs = parking_resumed(GROUP, OccurredAt::now());
        let headers = pairs.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let record = BaseRecord::<(), ()>::to(DEAD_LETTER_TOPIC).partition(partition).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(DEADLINE).unwrap();
    }

    /// A client of the group that is no member of it.
    pub(crate) fn bystander(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .create()
            .unwrap()
    }
}

fn versioned<'a>(
    partition: i32,
    key: &'a str,
    value: &'a [u8],
    event_type: &str,
) -> BaseRecord<'a, str, [u8]> {
    let headers = OwnedHeaders::new().insert(Header { key: "ce_type", value: Some(event_type) });
    BaseRecord::to(TOPIC).partition(partition).key(key).payload(value).headers(headers)
}

fn order(order_id: i64) -> String {
    format!(r#"{{"occurredAt":"2025-05-29T01:43:46.137371Z","orderId":{order_id}}}"#)
}
