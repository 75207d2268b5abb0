//! # Topic reader
//!
//! Reads a topic beside everybody else: all partitions, assigned explicitly, from a time to the ends that it saw before.
//! It joins no group and commits nothing, so no reader of the topic notices it. (librdkafka assigns partitions only to a
//! client with a group's name; nobody ever joins the group of this one.)
//!
//! Everything here blocks the thread, and is bounded: a broker that says nothing for as long as the limit is given up.

use super::cluster::Ears;
use super::event_publisher::{PublisherError, quiet_config};
use crate::audit::record::{Place, Raw};
use crate::audit::retention::Partition;
use crate::settings::KafkaSettings;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The name of a group that nobody joins.
const NEVER_JOINED: &str = "order-service-audit";
/// One wait for a record; the limit is looked at in between.
const ONE_WAIT: Duration = Duration::from_millis(100);
/// Takes in what went wrong meanwhile.
const TIME_TO_LISTEN: Duration = Duration::from_millis(10);

/// Why the topic cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The settings make no client.
    #[error(transparent)]
    Settings(#[from] PublisherError),
    /// Nobody answered in time.
    #[error("no answer from Kafka at {servers} within {limit:?} (--kafka-timeout): {cause}")]
    Silent {
        /// Where it is looked for.
        servers: String,
        /// How long it was waited for.
        limit: Duration,
        /// librdkafka's reason, the most telling that it gave.
        cause: String,
    },
    /// There is no such topic, or this user may not see it.
    #[error(
        "topic {topic} cannot be read: {cause}: run `order-service topics`, correct kafka.topic, or have Describe and Read granted"
    )]
    Topic {
        /// Its name.
        topic: String,
        /// Kafka's words.
        cause: String,
    },
}

/// The offsets of one partition at one moment: from the lowest to the one that the next record will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The lowest.
    pub low: i64,
    /// Behind the last.
    pub high: i64,
}

/// Whether a scan goes on with the record's partition.
enum Next {
    More,
    Enough,
}

/// A consumer of one topic without a group.
pub struct TopicReader {
    consumer: BaseConsumer<Ears>,
    topic: String,
    servers: String,
    limit: Duration,
}

impl TopicReader {
    /// Connects in the background; `limit` is how long a silence of Kafka may last.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn connect(settings: &KafkaSettings, limit: Duration) -> Result<Self, ReadError> {
        let mut config = quiet_config(settings);
        config
            .set("group.id", NEVER_JOINED)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_uncommitted")
            // What retention takes during the reading is no end of it: the bounds of retention are looked at afterwards.
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "16384");
        let consumer = config.create_with_context(Ears::default()).map_err(PublisherError::from)?;
        let (topic, servers) = (settings.topic.clone(), settings.bootstrap_servers.clone());
        Ok(Self { consumer, topic, servers, limit })
    }

    /// Where each partition begins and ends now; an acknowledged record stands below the end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn ends(&self) -> Result<Vec<Ends>, ReadError> {
        let begin = Instant::now();
        let metadata = self
            .consumer
            .fetch_metadata(Some(&self.topic), self.limit)
            .map_err(|error| self.silent(&error))?;
        let found = metadata.topics().first();
        let error = found.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
        let partitions = found.map_or(0, |topic| topic.partitions().len());
        if error.is_some() || partitions == 0 {
            let cause = error.unwrap_or(RDKafkaErrorCode::UnknownTopicOrPartition).to_string();
            return Err(ReadError::Topic { topic: self.topic.clone(), cause });
        }
        let ids = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
        ids.map(|partition| {
            let left = self.limit.saturating_sub(begin.elapsed()).max(ONE_WAIT);
            let (low, high) = self
                .consumer
                .fetch_watermarks(&self.topic, partition, left)
                .map_err(|error| self.silent(&error))?;
            Ok(Ends { low, high })
        })
        .collect()
    }

    /// Hands over every record of Kafka's time `since_millis` or later, and some earlier ones, up to these ends, until
    /// `take` says that it wants no more.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        since_millis: i64,
        ends: &[Ends],
        mut take: impl FnMut(&Raw<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let spans = self.spans_since(since_millis, ends)?;
        let mut wanted = true;
        self.scan(spans, |message| {
            wanted = wanted && take(&raw(message));
            if wanted { Next::More } else { Next::Enough }
        })
    }

    /// How each partition stands now, with its oldest record.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn partitions(&self) -> Result<Vec<Partition>, ReadError> {
        let ends = self.ends()?;
        let shortened = (0..).zip(&ends).filter(|(_, ends)| 0 < ends.low && ends.low < ends.high);
        let oldest = self.first_times(shortened.map(|(id, ends)| (id, *ends)).collect())?;
        let partition =
            |(id, Ends { low, high })| Partition { low, high, oldest_millis: oldest.get(&id).copied() };
        Ok((0..).zip(ends).map(partition).collect())
    }

    /// A broker says for a time that no record is as late by the offset "end". The mock cluster says so for every time, as
    /// it knows none. So the last record is asked: if it is as late, the answer is not to be believed, and the partition is
    /// read from its beginning.
    fn spans_since(&self, since_millis: i64, ends: &[Ends]) -> Result<BTreeMap<i32, Ends>, ReadError> {
        let mut asked = TopicPartitionList::new();
        let mut filled: BTreeMap<i32, Ends> =
            (0..).zip(ends.iter().copied()).filter(|(_, ends)| ends.low < ends.high).collect();
        if filled.is_empty() {
            return Ok(filled);
        }
        for id in filled.keys() {
            // Negative ones are names of other things to Kafka.
            self.add(&mut asked, *id, Offset::Offset(since_millis.max(0)))?;
        }
        let answer =
            self.consumer.offsets_for_times(asked, self.limit).map_err(|error| self.silent(&error))?;
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
            Next::Enough
        })?;
        Ok(times)
    }

    fn scan(
        &self,
        spans: BTreeMap<i32, Ends>,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Next,
    ) -> Result<(), ReadError> {
        let mut open = spans;
        let mut assigned = TopicPartitionList::new();
        for (id, ends) in &open {
            self.add(&mut assigned, *id, Offset::Offset(ends.low))?;
        }
        self.consumer.assign(&assigned).map_err(|error| self.silent(&error))?;
        let mut heard_at = Instant::now();
        while !open.is_empty() {
            let done = match self.consumer.poll(ONE_WAIT) {
                Some(Ok(message)) => {
                    // Offsets may have gaps, so the last one below the end need not be the end less one.
                    let goes_on = open.get(&message.partition()).is_none_or(|ends| {
                        message.offset() < ends.high
                            && matches!(take(&message), Next::More)
                            && message.offset() + 1 < ends.high
                    });
                    // Only now: what `take` waits for is no silence of Kafka.
                    heard_at = Instant::now();
                    (!goes_on).then(|| message.partition())
                }
                Some(Err(KafkaError::PartitionEOF(id))) => {
                    heard_at = Instant::now();
                    Some(id)
                }
                // It goes on by itself, or the silence tells.
                Some(Err(_)) | None => None,
            };
            if let Some(id) = done.filter(|id| open.remove(id).is_some()) {
                self.leave(id)?;
            }
            if heard_at.elapsed() >= self.limit {
                return Err(self.silent(&KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
            }
        }
        self.consumer.unassign().map_err(|error| self.silent(&error))
    }

    /// What comes behind the end is not fetched while the other partitions are read. (Pausing would do too, but a pause
    /// outlives the assignment: the next scan would wait for ever.)
    fn leave(&self, id: i32) -> Result<(), ReadError> {
        let mut done = TopicPartitionList::new();
        done.add_partition(&self.topic, id);
        self.consumer.incremental_unassign(&done).map_err(|error| self.silent(&error))
    }

    fn add(&self, list: &mut TopicPartitionList, id: i32, offset: Offset) -> Result<(), ReadError> {
        list.add_partition_offset(&self.topic, id, offset).map_err(|error| self.silent(&error))
    }

    fn silent(&self, error: &KafkaError) -> ReadError {
        drop(self.consumer.poll(TIME_TO_LISTEN));
        let cause = self.consumer.context().heard().clone().unwrap_or_else(|| error.to_string());
        ReadError::Silent { servers: self.servers.clone(), limit: self.limit, cause }
    }
}

fn raw<'a>(message: &'a BorrowedMessage<'_>) -> Raw<'a> {
    Raw {
        place: Place { partition: message.partition(), offset: message.offset() },
        millis: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        headers: message.headers().map(readable).unwrap_or_default(),
    }
}

/// The client panics at a header whose name is not UTF-8, which Kafka takes; none of ours is one of those.
fn readable<H: Headers>(headers: &H) -> Vec<(&str, Option<&[u8]>)> {
    let header = |place| headers.try_get(place).map(|header| (header.key, header.value));
    let readable = |place| catch_unwind(AssertUnwindSafe(|| header(place))).ok().flatten();
    (0..headers.count()).filter_map(readable).collect()
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;

    /// As the client's own: panics at the second name.
    struct OneUnreadable(OwnedHeaders);

    impl Headers for OneUnreadable {
        fn count(&self) -> usize {
            self.0.count()
        }

        fn try_get(&self, place: usize) -> Option<Header<'_, &[u8]>> {
            assert_ne!(place, 1, "not UTF-8, as this test wants");
            self.0.try_get(place)
        }
    }

    #[test]
    fn a_header_whose_name_is_not_utf_8_is_passed_over() {
        let headers = ["a", "(unreadable)", "c"]
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, key| headers.insert(Header { key, value: Some(key) }));
        let read = [("a", Some(&b"a"[..])), ("c", Some(&b"c"[..]))];
        assert_eq!(readable(&OneUnreadable(headers)), read);
    }
}
