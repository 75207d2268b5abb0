//! # Examination
//!
//! librdkafka tells that some partition has lost its position, but not which, and reads that one no more. Here each is looked at,
//! one a turn of the poll loop, and then whether every partition is read (see [`super::positions`]).

use std::time::{Duration, Instant};

use rdkafka::error::KafkaResult;

use super::GroupConsumer;
use super::group::Group;
use super::positions::{self, Finding};

/// How long to wait before looking again for the partition whose position is gone.
const EXAMINE_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long a turn of the poll loop may look for it: one partition a turn, and polling in between.
const EXAMINATION_TIME: Duration = Duration::from_secs(2);

/// The search for a partition whose position is gone.
pub(super) struct Examination {
    /// When to go on with it.
    at: Instant,
    left: Vec<i32>,
}

impl Group {
    /// librdkafka has no position for some partition, and does not say for which.
    pub(crate) fn a_position_is_missing(&mut self) {
        self.examination = Some(Examination { at: Instant::now(), left: self.assignments.partitions() });
    }

    pub(crate) fn examine_positions_if_due(&mut self, consumer: &GroupConsumer) {
        let Some(mut examination) = self.examination.take_if(|due| due.at <= Instant::now()) else { return };
        let Some(partition) = examination.left.last().copied() else {
            self.find_what_stands_still(consumer);
            return;
        };
        match self.examine(consumer, partition) {
            Ok(()) => _ = examination.left.pop(),
            Err(error) => {
                tracing::warn!(kafka.partition = partition, "cannot examine a position yet: {error}");
                // The others first: this one's leader may be away for long.
                examination.left.rotate_right(1);
                examination.at = Instant::now() + EXAMINE_AGAIN_AFTER;
            }
        }
        self.examination = Some(examination);
    }

    fn examine(&mut self, consumer: &GroupConsumer, partition: i32) -> KafkaResult<()> {
        let Some(reads_on_from) = self.assignments.reads_on_from(partition) else { return Ok(()) };
        match positions::examine(consumer, &self.topic, partition, reads_on_from, EXAMINATION_TIME)? {
            Finding::Readable => {}
            Finding::Lost { wanted, oldest, end } => {
                self.stop_partition(consumer, partition);
                self.health.position_lost(partition, wanted, oldest, end);
            }
        }
        Ok(())
    }

    /// Nothing more is gone, so whatever is not read now would stand still for ever, and nobody would know.
    fn find_what_stands_still(&mut self, consumer: &GroupConsumer) {
        let partitions = self.assignments.partitions().into_iter();
        let read: Vec<_> = partitions
            .filter_map(|partition| Some((partition, self.assignments.reads_on_from(partition)?)))
            .collect();
        match positions::standing_still(consumer, &self.topic, &read, EXAMINATION_TIME) {
            Ok(still) if still.is_empty() => {}
            Ok(still) => {
                let topic = &self.topic;
                tracing::error!("partitions {still:?} of {topic} are not read, so the client is replaced");
                self.client_is_broken = true;
            }
            Err(error) => {
                tracing::warn!("cannot find out yet whether every partition is read: {error}");
                let at = Instant::now() + EXAMINE_AGAIN_AFTER;
                self.examination = Some(Examination { at, left: Vec::new() });
            }
        }
    }
}
