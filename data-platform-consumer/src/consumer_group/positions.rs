//! # Positions
//!
//! Where reading starts and whether it can go on. `auto.offset.reset` is `error`, so that librdkafka never
//! jumps by itself; with `latest`, its default, a first start or a lost position skips orders silently.
//!
//! On assignment the committed positions are looked up, and a partition without one starts at its beginning,
//! by our own choice. A position that the broker no longer has is an alarm, and that partition stops: to
//! skip what is gone is an operator's decision.
//!
//! librdkafka tells that some partition lost its position, but not which, and reads that partition no more until it
//! is assigned anew. So each is examined, and then [`standing_still`] finds those that are not read although
//! nothing of them is gone (`a_partition_whose_beginning_was_refused_is_read_all_the_same`).

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::Offset;

use super::{GroupConsumer, offset_commits};

const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Where an assignment begins to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartPosition {
    /// At the committed position.
    At(i64),
    /// At the oldest record: nothing was committed yet.
    Beginning,
}

impl StartPosition {
    fn from_committed(offset: Offset) -> Self {
        match offset {
            Offset::Offset(next) => Self::At(next),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => {
                Self::Beginning
            }
        }
    }

    pub(crate) fn to_offset(self) -> Offset {
        match self {
            Self::At(next) => Offset::Offset(next),
            Self::Beginning => Offset::Beginning,
        }
    }
}

/// Why a partition is not read on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The broker has it. Whether it is read is another question: [`standing_still`].
    Readable,
    /// The broker no longer has, or does not have yet, what is to be read next.
    Lost { wanted: i64, oldest: i64, end: i64 },
}

/// Where to start on a partition, and what was committed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) partition: i32,
    pub(crate) position: StartPosition,
    /// See [`crate::delivery::ceiling`].
    pub(crate) ceiling_reached_at: Option<i64>,
}

/// Looks up where to start on each of these partitions, within the time given. The look-up is tried again after
/// an error, as the coordinator may just be moving.
pub(crate) fn start_positions(
    consumer: &GroupConsumer,
    partitions: &TopicPartitionList,
    time: Duration,
) -> KafkaResult<Vec<Start>> {
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match committed(consumer, partitions, left) {
            Err(error) if !left.is_zero() && !consumer.assignment_lost() => {
                tracing::info!("the committed positions are looked up again: {error}");
                // An answer that comes at once must not make this spin; one that is waited for waits there.
                std::thread::sleep(AGAIN_AFTER.min(left));
            }
            answer => return answer,
        }
    }
}

fn committed(
    consumer: &GroupConsumer,
    partitions: &TopicPartitionList,
    time: Duration,
) -> KafkaResult<Vec<Start>> {
    if partitions.count() == 0 {
        return Ok(Vec::new());
    }
    let mut wanted = TopicPartitionList::with_capacity(partitions.count());
    for element in partitions.elements() {
        wanted.add_partition(element.topic(), element.partition());
    }
    let committed = consumer.committed_offsets(wanted, time)?;
    let positions = committed.elements().into_iter().map(|element| {
        element.error()?;
        let position = StartPosition::from_committed(element.offset());
        let ceiling_reached_at = offset_commits::ceiling_reached_at(element.metadata());
        Ok(Start { partition: element.partition(), position, ceiling_reached_at })
    });
    positions.collect()
}

/// Finds out why librdkafka has no position for a partition, which its error does not say.
pub(crate) fn examine(
    consumer: &GroupConsumer,
    topic: &str,
    partition: i32,
    reads_on_from: StartPosition,
    time: Duration,
) -> KafkaResult<Finding> {
    // There is always a beginning.
    let StartPosition::At(wanted) = reads_on_from else { return Ok(Finding::Readable) };
    let (oldest, end) = consumer.fetch_watermarks(topic, partition, time)?;
    if (oldest..=end).contains(&wanted) {
        Ok(Finding::Readable)
    } else {
        Ok(Finding::Lost { wanted, oldest, end })
    }
}

/// Which of these partitions, each with where it reads on, the client does not read any more. The others are
/// sought to where they are anyway: what is read again is recognised.
pub(crate) fn standing_still(
    consumer: &GroupConsumer,
    topic: &str,
    reads_on_from: &[(i32, StartPosition)],
    time: Duration,
) -> KafkaResult<Vec<i32>> {
    if reads_on_from.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = TopicPartitionList::with_capacity(reads_on_from.len());
    for (partition, start) in reads_on_from {
        list.add_partition_offset(topic, *partition, start.to_offset())?;
    }
    let sought = consumer.seek_partitions(list, time)?;
    let refused = sought.elements().into_iter().filter(|element| element.error().is_err());
    Ok(refused.map(|element| element.partition()).collect())
}
