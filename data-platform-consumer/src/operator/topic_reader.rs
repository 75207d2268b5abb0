//! # Topic reader
//!
//! Reads a topic beside everybody else: all partitions, assigned explicitly, from a time to the ends that it saw before. It
//! has the group's name, to ask for the group's positions, but never joins and commits nothing, so no member notices it.
//!
//! Everything here blocks the thread, and is bounded: a broker that says nothing for as long as the limit is given up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use crate::consumer_group::RefusedByClient;
use crate::delivery::Record;
use crate::kafka_clients::spans::{self, Interrupted};
use crate::kafka_clients::{self, Ears, refused};
use crate::settings::KafkaSettings;

/// A look-up is granted so much, however late it is.
const ONE_WAIT: Duration = Duration::from_millis(100);

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The settings make no client.
    #[error(transparent)]
    Settings(#[from] RefusedByClient),
    /// Nobody answered in time.
    #[error("no answer from Kafka at {servers} within {limit:?} (--kafka-timeout): {cause}")]
    Silent {
        /// Where it is looked for.
        servers: String,
        /// How long it was waited for.
        limit: Duration,
        /// librdkafka's words.
        cause: String,
    },
    /// There is no such topic, or this user may not see it.
    #[error(
        "topic {topic} cannot be read: {cause}: correct kafka.topic, or have Describe and Read granted on it and on the group"
    )]
    Topic {
        /// Its name.
        topic: String,
        /// Kafka's words.
        cause: String,
    },
}

/// The offsets of one partition at one moment.
pub(crate) use crate::kafka_clients::spans::Span as Ends;

/// A client of one topic that is no member of the group.
pub(crate) struct TopicReader {
    consumer: BaseConsumer<Ears>,
    topic: String,
    servers: String,
    limit: Duration,
}

impl TopicReader {
    /// Connects in the background; `limit` is how long a silence of Kafka may last.
    pub(crate) fn connect(kafka: &KafkaSettings, topic: &str, limit: Duration) -> Result<Self, ReadError> {
        let mut config = kafka_clients::reading(kafka, &kafka.group_id);
        config.set("isolation.level", "read_uncommitted");
        let consumer = config
            .create_with_context(Ears::default())
            .map_err(|error| RefusedByClient::new(&error, kafka))?;
        Ok(Self { consumer, topic: topic.to_owned(), servers: kafka.bootstrap_servers.clone(), limit })
    }

    /// Where each partition begins and ends now; nothing if there is no such topic.
    pub(crate) fn ends_if_there(&self) -> Result<Option<Vec<Ends>>, ReadError> {
        let begin = Instant::now();
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), self.limit);
        let metadata = metadata.map_err(|error| self.failed(&error))?;
        let found = metadata.topics().first();
        match found.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Ok(None),
            Some(error) => {
                return Err(ReadError::Topic { topic: self.topic.clone(), cause: error.to_string() });
            }
            None => {}
        }
        let partitions = found.map_or(0, |topic| topic.partitions().len());
        if partitions == 0 {
            return Ok(None);
        }
        let ids = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
        let ends = ids.map(|partition| {
            let left = self.limit.saturating_sub(begin.elapsed()).max(ONE_WAIT);
            let watermarks = self.consumer.fetch_watermarks(&self.topic, partition, left);
            watermarks.map(|(low, high)| Ends { low, high }).map_err(|error| self.failed(&error))
        });
        ends.collect::<Result<_, _>>().map(Some)
    }

    /// The same of a topic that has to be there.
    pub(crate) fn ends(&self) -> Result<Vec<Ends>, ReadError> {
        let cause = || RDKafkaErrorCode::UnknownTopicOrPartition.to_string();
        self.ends_if_there()?.ok_or_else(|| ReadError::Topic { topic: self.topic.clone(), cause: cause() })
    }

    /// What the group has committed for each of so many partitions.
    pub(crate) fn committed(&self, partitions: usize) -> Result<Vec<Option<i64>>, ReadError> {
        let ids = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
        let mut asked = TopicPartitionList::new();
        for id in ids.clone() {
            asked.add_partition(&self.topic, id);
        }
        let answer = self.consumer.committed_offsets(asked, self.limit);
        let answer = answer.map_err(|error| self.failed(&error))?;
        ids.map(|id| {
            let Some(element) = answer.find_partition(&self.topic, id) else { return Ok(None) };
            element.error().map_err(|error| self.failed(&error))?;
            Ok(element.offset().to_raw().filter(|offset| *offset >= 0))
        })
        .collect()
    }

    /// Hands over every record of Kafka's time `since_millis` or later, and some earlier ones, up to these ends, until
    /// `take` says that it wants no more.
    pub(crate) fn read(
        &self,
        since_millis: i64,
        ends: &[Ends],
        mut take: impl FnMut(Record) -> bool,
    ) -> Result<(), ReadError> {
        let spans = self.spans_since(since_millis, ends)?;
        let topic = self.topic.as_str().into();
        let mut wanted = true;
        self.scan(spans, |message| {
            wanted = wanted && take(Record::read(std::sync::Arc::clone(&topic), message));
            wanted
        })
    }

    /// A broker says for a time that no record is as late by the offset "end". The mock cluster says so for every time, as
    /// it knows none. So the last record is asked: if it is as late, the answer is not to be believed, and the partition is
    /// read from its beginning.
    fn spans_since(&self, since_millis: i64, ends: &[Ends]) -> Result<BTreeMap<i32, Ends>, ReadError> {
        let mut filled: BTreeMap<i32, Ends> =
            (0..).zip(ends.iter().copied()).filter(|(_, ends)| ends.low < ends.high).collect();
        if filled.is_empty() {
            return Ok(filled);
        }
        let mut asked = TopicPartitionList::new();
        for id in filled.keys() {
            // Negative ones are names of other things to Kafka.
            self.add(&mut asked, *id, Offset::Offset(since_millis.max(0)))?;
        }
        let answer = self.consumer.offsets_for_times(asked, self.limit);
        let answer = answer.map_err(|error| self.failed(&error))?;
        let mut unsure = BTreeMap::new();
        for element in answer.elements() {
            if let Some(ends) = filled.get_mut(&element.partition()) {
                if let Offset::Offset(offset) = element.offset() {
                    ends.low = offset.max(ends.low);
                } else {
                    unsure.insert(element.partition(), Ends { low: ends.high - 1, ..*ends });
                }
            }
        }
        let last = self.first_times(unsure.clone())?;
        let all_earlier = |id: &i32| last.get(id).is_some_and(|millis| *millis < since_millis);
        filled.retain(|id, ends| ends.low < ends.high && !(unsure.contains_key(id) && all_earlier(id)));
        Ok(filled)
    }

    /// Kafka's time of the first record in each of these spans that has one.
    fn first_times(&self, spans: BTreeMap<i32, Ends>) -> Result<BTreeMap<i32, i64>, ReadError> {
        let mut times = BTreeMap::new();
        self.scan(spans, |message| {
            if let Some(millis) = message.timestamp().to_millis() {
                times.insert(message.partition(), millis);
            }
            false
        })?;
        Ok(times)
    }

    /// `take` says whether it wants more of the record's partition.
    fn scan(
        &self,
        spans: BTreeMap<i32, Ends>,
        take: impl FnMut(&BorrowedMessage<'_>) -> bool,
    ) -> Result<(), ReadError> {
        match spans::read(&self.consumer, &self.topic, spans, self.limit, || false, take) {
            Ok(()) | Err(Interrupted::Stopped) => Ok(()),
            Err(Interrupted::Kafka(error)) => Err(self.failed(&error)),
        }
    }

    fn add(&self, list: &mut TopicPartitionList, id: i32, offset: Offset) -> Result<(), ReadError> {
        list.add_partition_offset(&self.topic, id, offset).map_err(|error| self.failed(&error))
    }

    /// Kafka has said no, or nothing.
    fn failed(&self, error: &KafkaError) -> ReadError {
        if refused(error) {
            let cause = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
            return ReadError::Topic { topic: self.topic.clone(), cause };
        }
        let cause = kafka_clients::cause_of(&self.consumer, error);
        ReadError::Silent { servers: self.servers.clone(), limit: self.limit, cause }
    }
}
