//! A consumer without a group that sees records as they are on the wire.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::heard::DEADLINE;

/// One topic, all partitions, from the beginning.
pub(crate) struct TopicReader {
    consumer: BaseConsumer,
    topic: String,
    partitions: i32,
}

/// A record as it is on the wire.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: serde_json::Value,
}

impl TopicReader {
    pub(crate) fn open(bootstrap_servers: &str, topic: &str, partitions: i32) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("group.id", "never-joined")
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "500")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()
            .expect("a consumer");
        let mut start = TopicPartitionList::new();
        for partition in 0..partitions {
            start.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
        }
        consumer.assign(&start).expect("assigned");
        Self { consumer, topic: topic.to_owned(), partitions }
    }

    /// The next so many records, in the order of their keys as numbers.
    pub(crate) fn next(&self, count: usize) -> Vec<Record> {
        let deadline = Instant::now() + DEADLINE;
        let mut records = Vec::new();
        while records.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} records arrived: {records:?}", records.len());
            // A broker that is away is told as an error, and is not the end.
            if let Some(Ok(message)) = self.consumer.poll(Duration::from_secs(1)) {
                records.push(record(&message));
            }
        }
        records.sort_by_key(|record| record.key.parse::<i64>().expect("a number"));
        records
    }

    /// How many records there are on the broker, read or not.
    pub(crate) fn records_on_the_broker(&self) -> i64 {
        let ends = (0..self.partitions).map(|partition| {
            let ends = self.consumer.fetch_watermarks(&self.topic, partition, DEADLINE);
            let (first, end) = ends.expect("the broker answers");
            end - first
        });
        ends.sum()
    }
}

/// How many records of the topic, counted from its beginning, the group has committed.
pub(crate) fn committed_records(bootstrap_servers: &str, group: &str, topic: &str, partitions: i32) -> i64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", group)
        .set_log_level(RDKafkaLogLevel::Emerg)
        .create()
        .expect("a consumer");
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, partitions - 1);
    let committed = consumer.committed_offsets(asked, DEADLINE).expect("the coordinator answers");
    committed.elements().iter().map(|partition| partition.offset().to_raw().unwrap_or(0).max(0)).sum()
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let mut named = BTreeMap::new();
    for header in headers {
        let before = named.insert(header.key.to_owned(), text(header.value.expect("a value")));
        assert_eq!(before, None, "the header {} is there once", header.key);
    }
    Record {
        partition: message.partition(),
        key: text(message.key().expect("a key")),
        headers: named,
        body: serde_json::from_slice(message.payload().expect("a body")).expect("JSON"),
    }
}
