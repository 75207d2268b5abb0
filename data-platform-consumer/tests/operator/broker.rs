//! A mock cluster with the topic of completed orders and that of its dead letters.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, TopicPartitionList};
use shared_messages::OccurredAt;
use shared_messages::dead_letter::{DeadLetter, DeadLetterCause, OriginalRecord};

pub(crate) const TOPIC: &str = "order-completed";
pub(crate) const DEAD_LETTERS: &str = "order-completed-dlt";
pub(crate) const GROUP: &str = "data-platform-consumer";
/// How long anything may take before the test fails. Nothing waits for it unless it fails.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    /// Where it is, for threads that cannot share the rest.
    pub(crate) address: String,
    producer: BaseProducer,
}

impl Broker {
    pub(crate) fn with_partitions(partitions: i32) -> Self {
        let broker = Self::without_topics();
        for topic in [TOPIC, DEAD_LETTERS] {
            broker.cluster.create_topic(topic, partitions, 3).unwrap();
        }
        broker
    }

    pub(crate) fn without_topics() -> Self {
        let cluster = MockCluster::new(3).unwrap();
        let address = cluster.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", &address).create().unwrap();
        Self { cluster, address, producer }
    }

    /// The next writes are refused, as for want of a right.
    pub(crate) fn refuse_writes(&self) {
        let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 10];
        self.cluster.request_errors(RDKafkaApiKey::Produce, &refused);
    }

    /// The next write is refused, as for want of a right.
    pub(crate) fn refuse_a_write(&self) {
        let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED];
        self.cluster.request_errors(RDKafkaApiKey::Produce, &refused);
    }

    /// The next joins are refused, as for want of a right.
    pub(crate) fn refuse_the_group(&self) {
        let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 10];
        self.cluster.request_errors(RDKafkaApiKey::JoinGroup, &refused);
    }

    pub(crate) fn all_down(&self) {
        (1..=3).for_each(|broker| self.cluster.broker_down(broker).unwrap());
    }

    /// Parks an order under its id as the key.
    pub(crate) fn park(&self, partition: i32, order_id: i64) {
        self.park_keyed(partition, &order_id.to_string(), order_id);
    }

    /// Parks an order under any key, so that several can share one.
    pub(crate) fn park_keyed(&self, partition: i32, key: &str, order_id: i64) {
        let value = format!(r#"{{"occurredAt":"2025-05-29T01:43:46.137371Z","orderId":{order_id}}}"#);
        self.park_bytes(partition, key, value.as_bytes(), &letter(partition, order_id));
    }

    /// Parks any bytes.
    pub(crate) fn park_bytes(&self, partition: i32, key: &str, value: &[u8], letter: &DeadLetter) {
        let mut headers =
            OwnedHeaders::new().insert(Header { key: "ce_type", value: Some("order-completed.v1") });
        for (key, value) in letter.to_pairs() {
            headers = headers.insert(Header { key, value: Some(&value) });
        }
        let record =
            BaseRecord::to(DEAD_LETTERS).partition(partition).key(key).payload(value).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(DEADLINE).unwrap();
    }

    /// A record in the topic of completed orders.
    pub(crate) fn complete(&self, partition: i32, value: &[u8]) {
        let record = BaseRecord::to(TOPIC).partition(partition).key("1").payload(value);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(DEADLINE).unwrap();
    }

    /// How many records each partition of a topic has.
    pub(crate) fn ends<const PARTITIONS: usize>(&self, topic: &str) -> [i64; PARTITIONS] {
        let consumer = self.bystander(GROUP);
        std::array::from_fn(|partition| {
            let partition = i32::try_from(partition).unwrap();
            consumer.fetch_watermarks(topic, partition, DEADLINE).unwrap().1
        })
    }

    /// What a group has committed for a partition of the dead-letter topic.
    pub(crate) fn committed(&self, group: &str, partition: i32) -> Option<i64> {
        let mut list = TopicPartitionList::new();
        list.add_partition(DEAD_LETTERS, partition);
        let answer = self.bystander(group).committed_offsets(list, DEADLINE).unwrap();
        let element = answer.find_partition(DEAD_LETTERS, partition).unwrap();
        element.offset().to_raw().filter(|offset| *offset >= 0)
    }

    /// A client of a group that is no member of it.
    fn bystander(&self, group: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .unwrap()
    }
}

/// As it is written for a record of this order, which lay at the offset of the same number.
pub(crate) fn letter(partition: i32, order_id: i64) -> DeadLetter {
    DeadLetter {
        original: OriginalRecord {
            topic: TOPIC.to_owned(),
            partition,
            offset: order_id,
            timestamp: Some(1_748_483_026_137),
            timestamp_type: None,
        },
        consumer_group: GROUP.to_owned(),
        cause: DeadLetterCause::Rejected,
        message: format!("422: nobody knows order {order_id}"),
        attempts: 1,
        failing_since: None,
        parked_at: OccurredAt::parse("2025-05-29T02:00").unwrap(),
    }
}
