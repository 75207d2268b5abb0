//! # The end of the dead letters
//!
//! What one partition of the dead-letter topic shows of the last while: how many records this group has parked there, and
//! whether an operator said that parking goes on. Read when the first record of an assignment is at fault, and now and then
//! where the ceiling was reached.
//!
//! Everything here blocks the thread, and is bounded. It joins no group and commits nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use shared_messages::dead_letter::{DeadLetter, is_resolution, parking_resumed_of};

use super::Record;
use super::ceiling::RecentDeadLetters;
use crate::kafka_clients;
use crate::kafka_clients::spans::{self, Interrupted, Span};
use crate::settings::KafkaSettings;

/// All of it may take so long.
const LIMIT: Duration = Duration::from_secs(10);

/// Which dead letters to look for.
#[derive(Debug, Clone)]
pub(crate) struct EndOfDeadLetters {
    pub(crate) kafka: KafkaSettings,
    pub(crate) partition: i32,
    /// How far back.
    pub(crate) window: Duration,
    /// And from this offset on at least.
    pub(crate) since: Option<i64>,
}

impl EndOfDeadLetters {
    pub(crate) fn read(&self) -> KafkaResult<RecentDeadLetters> {
        let deadline = Instant::now() + LIMIT;
        let topic = self.kafka.dead_letter_topic();
        let mut config = kafka_clients::reading(&self.kafka, &self.kafka.group_id);
        let reader: BaseConsumer = config.set_log_level(RDKafkaLogLevel::Emerg).create()?;
        let (low, high) = reader.fetch_watermarks(&topic, self.partition, left(deadline))?;
        let mut recent = RecentDeadLetters { ages: Vec::new(), end: high, resumed_at: None };
        if low >= high {
            return Ok(recent);
        }
        let now = millis_since_1970();
        let window_start = now.saturating_sub(millis(self.window));
        let start = match self.first_since(&reader, &topic, window_start, deadline)? {
            Some(first) => first,
            // None is as young, or the broker knows no times: then the last one tells which.
            None if time_of_last(&reader, &topic, self.partition, high, deadline)? >= window_start => low,
            None => high,
        };
        // Only an operator's word can stand behind the end that the ceiling was reached at, in a topic that is still the same.
        let start = self.since.filter(|since| *since <= high).unwrap_or(start).max(low);
        read_from(&reader, &topic, self.partition, start, high, deadline, |record| {
            let record = Record::read(topic.as_str().into(), record);
            if let Some(group) = parking_resumed_of(record.value(), record.headers()) {
                if group == self.kafka.group_id {
                    recent.ages.clear();
                    recent.resumed_at = Some(record.position().offset);
                }
            } else if self.is_ours(&record) {
                let parked = record.timestamp().map_or(now, |time| time.millis);
                if parked >= window_start {
                    let age = u64::try_from(now.saturating_sub(parked)).unwrap_or_default();
                    recent.ages.push(Duration::from_millis(age));
                }
            }
        })?;
        Ok(recent)
    }

    fn is_ours(&self, record: &Record) -> bool {
        if is_resolution(record.value(), record.headers()) {
            return false;
        }
        let Ok(dead_letter) = DeadLetter::from_pairs(record.headers()) else { return false };
        dead_letter.consumer_group.is_none_or(|group| group == self.kafka.group_id)
    }

    fn first_since(
        &self,
        reader: &BaseConsumer,
        topic: &str,
        time: i64,
        deadline: Instant,
    ) -> KafkaResult<Option<i64>> {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(topic, self.partition, Offset::Offset(time.max(0)))?;
        let found = reader.offsets_for_times(wanted, left(deadline))?;
        let Some(element) = found.find_partition(topic, self.partition) else { return Ok(None) };
        element.error()?;
        Ok(element.offset().to_raw().filter(|offset| *offset >= 0))
    }
}

fn time_of_last(
    reader: &BaseConsumer,
    topic: &str,
    partition: i32,
    high: i64,
    deadline: Instant,
) -> KafkaResult<i64> {
    let mut time = i64::MIN;
    read_from(reader, topic, partition, high.saturating_sub(1).max(0), high, deadline, |record| {
        time = record.timestamp().to_millis().unwrap_or(i64::MAX);
    })?;
    Ok(time)
}

/// Hands over the records from `start` to before `high`.
fn read_from(
    reader: &BaseConsumer,
    topic: &str,
    partition: i32,
    start: i64,
    high: i64,
    deadline: Instant,
    mut take: impl FnMut(&BorrowedMessage<'_>),
) -> KafkaResult<()> {
    let span = BTreeMap::from([(partition, Span { low: start, high })]);
    let is_late = || Instant::now() >= deadline;
    let read = spans::read(reader, topic, span, left(deadline), is_late, |record| {
        take(record);
        true
    });
    read.map_err(|interrupted| match interrupted {
        Interrupted::Stopped => KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut),
        Interrupted::Kafka(error) => error,
    })
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn millis_since_1970() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}
