//! # What an operator does to a real Kafka
//!
//! Topics as they come and go in a cluster that is not ours alone. The mock cluster can do none of this, so the cases
//! that need it run in containers only.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
    TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::heard::{DEADLINE, within};

const ANSWER: Duration = Duration::from_secs(2);

/// Somebody who may change topics.
pub(crate) struct Operator {
    admin: AdminClient<DefaultClientContext>,
}

impl Operator {
    pub(crate) fn at(bootstrap_servers: &str) -> Self {
        let admin: KafkaResult<_> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("reconnect.backoff.max.ms", "200")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create();
        Self { admin: admin.expect("a client") }
    }

    /// One replica, and these properties; returns once every partition has a leader.
    pub(crate) async fn create(&self, topic: &str, partitions: i32, properties: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = properties.iter().fold(new, |new, (name, value)| new.set(name, value));
        done(within("a topic is created", self.admin.create_topics([&new], &options())).await);
        self.until_led(topic, partitions);
    }

    pub(crate) async fn delete(&self, topic: &str) {
        done(within("a topic is deleted", self.admin.delete_topics(&[topic], &options())).await);
    }

    /// As retention does: of each partition only the newest so many records stay. How many are left in all.
    pub(crate) async fn remove_all_but(&self, topic: &str, partitions: i32, kept: i64) -> i64 {
        let (mut before, mut left) = (TopicPartitionList::new(), 0);
        for partition in 0..partitions {
            let ends = self.admin.inner().fetch_watermarks(topic, partition, DEADLINE);
            let (oldest, end) = ends.expect("the broker answers");
            let new_oldest = oldest.max(end - kept);
            let offset = Offset::Offset(new_oldest);
            before.add_partition_offset(topic, partition, offset).expect("an offset");
            left += end - new_oldest;
        }
        let removed = within("records are removed", self.admin.delete_records(&before, &options())).await;
        for partition in removed.expect("an answer").elements() {
            partition.error().expect("the records are removed");
        }
        left
    }

    /// Returns once the topic has so many partitions and each has a leader.
    pub(crate) async fn add_partitions(&self, topic: &str, in_all: i32) {
        let new = NewPartitions::new(topic, usize::try_from(in_all).expect("a number of partitions"));
        done(within("partitions are added", self.admin.create_partitions([&new], &options())).await);
        self.until_led(topic, in_all);
    }

    /// What was set for this very topic: the brokers' defaults are left out.
    pub(crate) async fn properties(&self, topic: &str) -> BTreeMap<String, String> {
        let asked = [ResourceSpecifier::Topic(topic)];
        let answer = within("properties are told", self.admin.describe_configs(&asked, &options())).await;
        let resources = answer.expect("an answer").into_iter();
        let entries = resources.flat_map(|resource| resource.expect("the topic's properties").entries);
        entries
            .filter(|entry| matches!(entry.source, ConfigSource::DynamicTopic))
            .map(|entry| (entry.name, entry.value.expect("no secret")))
            .collect()
    }

    /// How many partitions the topic has: 0 if there is none of this name.
    pub(crate) fn partitions(&self, topic: &str) -> usize {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), DEADLINE).expect("the broker answers");
        metadata.topics().iter().map(|topic| topic.partitions().len()).sum()
    }

    fn until_led(&self, topic: &str, partitions: i32) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let seen = self.admin.inner().fetch_metadata(Some(topic), ANSWER);
            let leaders: Vec<i32> = seen.iter().flat_map(Metadata::topics).flat_map(leaders).collect();
            if i32::try_from(leaders.len()) == Ok(partitions) && leaders.iter().all(|leader| *leader >= 0) {
                return;
            }
            assert!(Instant::now() < deadline, "{topic} has not {partitions} leaders but {leaders:?}");
            std::thread::yield_now();
        }
    }
}

fn leaders(topic: &MetadataTopic) -> impl Iterator<Item = i32> {
    topic.partitions().iter().map(MetadataPartition::leader)
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(DEADLINE))
}

fn done(answer: KafkaResult<Vec<TopicResult>>) {
    for result in answer.expect("an answer") {
        result.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}"));
    }
}
