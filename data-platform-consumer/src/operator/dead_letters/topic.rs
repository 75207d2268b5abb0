//! # The dead-letter topic
//!
//! Reads it beside everybody else: all partitions, assigned explicitly, from their beginning to the ends that were seen
//! at the start. It joins no group and commits nothing. (librdkafka assigns partitions only to a client with a group's
//! name; nobody ever joins the group of this one.)
//!
//! Everything here blocks the thread, and is bounded: a Kafka that says nothing for as long as the limit is given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::DeadLettersError;
use super::letter::Letters;
use crate::consumer_group::RefusedByClient;
use crate::delivery::Record;
use crate::kafka_clients::{self, Ears, is_forbidden, refused};
use crate::operator::Stop;
use crate::settings::KafkaSettings;

/// The name of a group that nobody joins.
const NEVER_JOINED: &str = "data-platform-consumer-dead-letters";
/// One wait for a record; the limit is looked at in between.
const ONE_WAIT: Duration = Duration::from_millis(100);
/// Takes in what went wrong meanwhile.
const TIME_TO_LISTEN: Duration = Duration::from_millis(10);

/// Where a partition is read from and to: up to the offset before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    begin: i64,
    end: i64,
}

/// A reader of the dead-letter topic, without a group.
pub(super) struct DeadLetterTopic {
    consumer: BaseConsumer<Ears>,
    name: Arc<str>,
    servers: String,
    limit: Duration,
    stop: Stop,
    /// Where each partition is read on.
    read_to: BTreeMap<i32, i64>,
}

impl DeadLetterTopic {
    /// Connects in the background; `limit` is how long a silence of Kafka may last.
    pub(super) fn connect(
        kafka: &KafkaSettings,
        limit: Duration,
        stop: Stop,
    ) -> Result<Self, DeadLettersError> {
        let config = kafka_clients::reading(kafka, NEVER_JOINED);
        let consumer = config
            .create_with_context(Ears::default())
            .map_err(|error| RefusedByClient::new(&error, kafka))?;
        Ok(Self {
            consumer,
            name: kafka.dead_letter_topic().into(),
            servers: kafka.bootstrap_servers.clone(),
            limit,
            stop,
            read_to: BTreeMap::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes in what was written since it was read last: at first all of it.
    pub(super) fn read(&mut self, letters: &mut Letters) -> Result<(), DeadLettersError> {
        let mut open = BTreeMap::new();
        let mut assigned = TopicPartitionList::new();
        for (partition, span) in self.spans()? {
            if span.begin < span.end {
                self.add(&mut assigned, partition, Offset::Offset(span.begin))?;
                open.insert(partition, span);
            }
        }
        self.consumer.assign(&assigned).map_err(|error| self.silent(&error))?;
        let mut heard_at = Instant::now();
        while !open.is_empty() {
            if self.stop.is_asked() {
                return Err(DeadLettersError::Stopped);
            }
            let ended = match self.consumer.poll(ONE_WAIT) {
                Some(Ok(message)) => {
                    heard_at = Instant::now();
                    let (partition, next) = (message.partition(), message.offset() + 1);
                    // What was fetched of a partition before it was left still comes.
                    let end = open.get(&partition).map_or(i64::MIN, |span| span.end);
                    if next <= end {
                        letters.take(Record::read(Arc::clone(&self.name), &message));
                    }
                    // Offsets may have gaps, so the last record need not be the one before the end.
                    (next >= end).then_some(partition)
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard_at = Instant::now();
                    Some(partition)
                }
                Some(Err(error)) if refused(&error) => return Err(self.unreadable(&error)),
                // It goes on by itself, or the silence tells.
                Some(Err(_)) | None => None,
            };
            if let Some(partition) = ended
                && let Some(span) = open.remove(&partition)
            {
                self.read_to.insert(partition, span.end);
                self.leave(partition)?;
            }
            if heard_at.elapsed() >= self.limit {
                return Err(self.silent(&KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
            }
        }
        self.consumer.unassign().map_err(|error| self.silent(&error))
    }

    fn spans(&self) -> Result<Vec<(i32, Span)>, DeadLettersError> {
        let started = Instant::now();
        let left = || self.limit.saturating_sub(started.elapsed()).max(ONE_WAIT);
        let metadata = self.consumer.fetch_metadata(Some(&self.name), left());
        let metadata = metadata.map_err(|error| self.silent(&error))?;
        let found = metadata.topics().first();
        let error = found.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
        let partitions: Vec<i32> =
            found.map_or(&[][..], |topic| topic.partitions()).iter().map(MetadataPartition::id).collect();
        match error {
            None if !partitions.is_empty() => {}
            None | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Err(DeadLettersError::TopicMissing { topic: self.name.to_string() });
            }
            Some(code) => return Err(self.unreadable(&KafkaError::MetadataFetch(code))),
        }
        let mut spans = Vec::new();
        for partition in partitions {
            if self.stop.is_asked() {
                return Err(DeadLettersError::Stopped);
            }
            let ends = self.consumer.fetch_watermarks(&self.name, partition, left());
            let (oldest, end) =
                ends.map_err(
                    |error| {
                        if refused(&error) { self.unreadable(&error) } else { self.silent(&error) }
                    },
                )?;
            let begin = self.read_to.get(&partition).copied().unwrap_or(oldest).max(oldest);
            spans.push((partition, Span { begin, end }));
        }
        Ok(spans)
    }

    /// What comes behind the end is not fetched while the other partitions are read.
    fn leave(&self, partition: i32) -> Result<(), DeadLettersError> {
        let mut done = TopicPartitionList::new();
        done.add_partition(&self.name, partition);
        self.consumer.incremental_unassign(&done).map_err(|error| self.silent(&error))
    }

    fn add(
        &self,
        list: &mut TopicPartitionList,
        partition: i32,
        offset: Offset,
    ) -> Result<(), DeadLettersError> {
        list.add_partition_offset(&self.name, partition, offset).map_err(|error| self.silent(&error))
    }

    fn unreadable(&self, error: &KafkaError) -> DeadLettersError {
        let topic = self.name.to_string();
        if is_forbidden(error) {
            DeadLettersError::Forbidden { topic }
        } else {
            DeadLettersError::Unreadable { topic, cause: error.to_string() }
        }
    }

    fn silent(&self, error: &KafkaError) -> DeadLettersError {
        drop(self.consumer.poll(TIME_TO_LISTEN));
        let cause = self.consumer.context().heard().unwrap_or_else(|| error.to_string());
        DeadLettersError::Silent { servers: self.servers.clone(), limit: self.limit, cause }
    }
}
