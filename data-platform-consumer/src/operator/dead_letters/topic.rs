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
use rdkafka::message::BorrowedMessage;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};

use super::DeadLettersError;
use super::letter::Letters;
use crate::consumer_group::RefusedByClient;
use crate::delivery::Record;
use crate::kafka_clients::spans::{self, Interrupted, Span};
use crate::kafka_clients::{self, Ears, is_forbidden, refused};
use crate::operator::Stop;
use crate::settings::KafkaSettings;

/// The name of a group that nobody joins.
const NEVER_JOINED: &str = "data-platform-consumer-dead-letters";
/// A look-up is granted so much, however late it is.
const ONE_WAIT: Duration = Duration::from_millis(100);
/// Takes in what went wrong meanwhile.
const TIME_TO_LISTEN: Duration = Duration::from_millis(10);

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
        let spans = self.spans()?;
        let ends: Vec<(i32, i64)> = spans.iter().map(|(partition, span)| (*partition, span.high)).collect();
        let name = Arc::clone(&self.name);
        let take = |message: &BorrowedMessage<'_>| {
            letters.take(Record::read(Arc::clone(&name), message));
            true
        };
        match spans::read(&self.consumer, &self.name, spans, self.limit, || self.stop.is_asked(), take) {
            Ok(()) => {}
            Err(Interrupted::Stopped) => return Err(DeadLettersError::Stopped),
            Err(Interrupted::Kafka(error)) if refused(&error) => return Err(self.unreadable(&error)),
            Err(Interrupted::Kafka(error)) => return Err(self.silent(&error)),
        }
        self.read_to.extend(ends);
        Ok(())
    }

    fn spans(&self) -> Result<BTreeMap<i32, Span>, DeadLettersError> {
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
        let mut spans = BTreeMap::new();
        for partition in partitions {
            if self.stop.is_asked() {
                return Err(DeadLettersError::Stopped);
            }
            let ends = self.consumer.fetch_watermarks(&self.name, partition, left());
            let (oldest, high) =
                ends.map_err(
                    |error| {
                        if refused(&error) { self.unreadable(&error) } else { self.silent(&error) }
                    },
                )?;
            let low = self.read_to.get(&partition).copied().unwrap_or(oldest).max(oldest);
            spans.insert(partition, Span { low, high });
        }
        Ok(spans)
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
