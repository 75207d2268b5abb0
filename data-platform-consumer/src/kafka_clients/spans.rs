//! # Spans
//!
//! Reads partitions from one offset to another, to an end that was looked up before, for example. The client is given them
//! explicitly, so it joins no group, and nothing is committed. It blocks the thread, and is bounded: by silence, and by whoever
//! wants it to stop.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::refused;

/// One wait for a record; the limits are looked at in between.
const ONE_WAIT: Duration = Duration::from_millis(100);

/// Offsets of one partition: from the lowest to before the one that the next record will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// Why not all of it was read.
#[derive(Debug)]
pub(crate) enum Interrupted {
    Stopped,
    /// Kafka has said no, or nothing for so long.
    Kafka(KafkaError),
}

impl From<KafkaError> for Interrupted {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}

/// Hands over the records of these spans. `take` says whether it wants more of the record's partition.
pub(crate) fn read<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    spans: BTreeMap<i32, Span>,
    longest_silence: Duration,
    stop: impl Fn() -> bool,
    mut take: impl FnMut(&BorrowedMessage<'_>) -> bool,
) -> Result<(), Interrupted> {
    let mut open = spans;
    open.retain(|_, span| span.low < span.high);
    let mut assigned = TopicPartitionList::new();
    for (partition, span) in &open {
        assigned.add_partition_offset(topic, *partition, Offset::Offset(span.low))?;
    }
    consumer.assign(&assigned)?;
    let mut heard_at = Instant::now();
    while !open.is_empty() {
        if stop() {
            return Err(Interrupted::Stopped);
        }
        let done = match consumer.poll(ONE_WAIT) {
            Some(Ok(message)) => {
                // What was fetched of a partition before it was left still comes. And offsets may have gaps, so the last record
                // below the end need not be the one before it.
                let goes_on = open.get(&message.partition()).is_none_or(|span| {
                    message.offset() < span.high && take(&message) && message.offset() + 1 < span.high
                });
                // Only now: what `take` waits for is no silence of Kafka.
                heard_at = Instant::now();
                (!goes_on).then(|| message.partition())
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                heard_at = Instant::now();
                Some(partition)
            }
            Some(Err(error)) if refused(&error) => return Err(error.into()),
            // It goes on by itself, or the silence tells.
            Some(Err(_)) | None => None,
        };
        if let Some(partition) = done.filter(|partition| open.remove(partition).is_some()) {
            leave(consumer, topic, partition)?;
        }
        if heard_at.elapsed() >= longest_silence {
            return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut).into());
        }
    }
    Ok(consumer.unassign()?)
}

/// What comes behind the end is not fetched while the other partitions are read.
fn leave<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partition: i32) -> KafkaResult<()> {
    let mut done = TopicPartitionList::new();
    done.add_partition(topic, partition);
    consumer.incremental_unassign(&done)
}
