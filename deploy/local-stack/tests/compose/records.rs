//! # The records of a topic
//!
//! Read without a group, so that nobody's position moves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const EVENT_ID: &str = "ce_id";
const STEP: Duration = Duration::from_secs(1);

/// A record, as far as the ledger asks.
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) event: String,
}

/// Everything that the topic holds now.
pub(crate) fn read_all(brokers: &str, topic: &str, patience: Duration) -> Result<Vec<Record>, KafkaError> {
    let consumer = reader(brokers)?;
    let cluster = consumer.fetch_metadata(Some(topic), patience)?;
    let mut start = TopicPartitionList::new();
    let mut missing = BTreeMap::new();
    for partition in cluster.topics().iter().flat_map(MetadataTopic::partitions) {
        let (first, end) = consumer.fetch_watermarks(topic, partition.id(), patience)?;
        if first < end {
            start.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
            missing.insert(partition.id(), end);
        }
    }
    consumer.assign(&start)?;
    let deadline = Instant::now() + patience;
    let mut records = Vec::new();
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "not read to the end within {patience:?}: {missing:?}");
        let Some(message) = consumer.poll(STEP) else { continue };
        let record = record(&message?);
        if missing.get(&record.partition).is_some_and(|end| record.offset + 1 >= *end) {
            missing.remove(&record.partition);
        }
        records.push(record);
    }
    Ok(records)
}

pub(crate) fn reader(brokers: &str) -> Result<BaseConsumer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "never-joined")
        .set("enable.auto.commit", "false")
        .set_log_level(RDKafkaLogLevel::Emerg)
        .create()
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("bytes").to_vec()).expect("text");
    let mut headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let event = headers.find(|header| header.key == EVENT_ID).expect("an event id");
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: text(message.key()),
        event: text(event.value),
    }
}
