//! # Sending
//!
//! What of the pending rows is handed to the producer in a cycle, what waits here for its partition, and what is not
//! taken on yet.

use super::super::in_flight::Admission;
use super::Relay;
use super::quarantining::Lanes;
use crate::kafka::event_publisher::{SendError, refused_for_good};
use crate::kafka::topic_partitions::TopicPartitions;
use crate::outbox::message::PendingMessage;
use crate::outbox::scan_floor::PassedOver;
use shared_messages::topics::partition_of;
use std::collections::HashSet;
use std::time::Instant;
use tracing::debug;

/// What a cycle finds of the topic's partitions when it begins.
pub(super) struct Partitions {
    /// They owe an acknowledgement: nothing is taken on for them.
    pub(super) hanging: HashSet<u32>,
    /// Nothing is handed over for them.
    pub(super) busy: HashSet<u32>,
}

/// What became of the rows of a read.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// How many there were.
    pub(super) of: usize,
    /// How many were taken on.
    pub(super) rows: usize,
    /// How many were not, because of their partition.
    pub(super) of_partitions: usize,
    /// What the others must not overtake.
    pub(super) passed_over: PassedOver,
    /// Whether as much as is allowed waits for its acknowledgement.
    pub(super) was_full: bool,
}

impl Taken {
    pub(super) fn is_all(&self) -> bool {
        self.rows == self.of
    }
}

impl Relay {
    /// Those that nothing is handed over for: that hang, or, while rows are suspected, with any event on its way.
    pub(super) fn busy_partitions(&self, hanging: &HashSet<u32>) -> HashSet<u32> {
        if !self.suspects() {
            return hanging.clone();
        }
        let on_their_way = self.in_flight.on_their_way().map(|(_, partition)| partition);
        on_their_way.chain(hanging.iter().copied()).collect()
    }

    /// Those with an event whose acknowledgement is overdue, and no other acknowledgement for as long: a Kafka that is slow
    /// with much is no Kafka that hangs.
    pub(super) fn hanging_partitions(&self, now: Instant) -> HashSet<u32> {
        let Some(overdue) = now.checked_sub(self.settings.straggler_after) else { return HashSet::new() };
        let hangs = |partition: &u32| self.progress.get(partition).is_none_or(|last| *last < overdue);
        self.in_flight.handed_before(overdue).filter(hangs).collect()
    }

    /// Nothing more is taken on for a partition that hangs. Nor for one that has its share on its way and has acknowledged nothing
    /// for a while, or twice that: until it is known to hang, its rows would take the place of all others.
    pub(super) fn is_held_back(&self, partition: u32, hanging: &HashSet<u32>, now: Instant) -> bool {
        let moves = || {
            let overdue = now.checked_sub(self.settings.straggler_after);
            self.progress.get(&partition).is_some_and(|last| overdue.is_none_or(|overdue| *last >= overdue))
        };
        hanging.contains(&partition)
            || match self.in_flight.shares_of(partition, self.partitions_before) {
                0 => false,
                1 => !moves(),
                _ => true,
            }
    }

    /// What was taken on and not handed over when its partition began to hang is read again later.
    pub(super) fn give_up_parked_of(&mut self, hanging: &HashSet<u32>) {
        if hanging.is_empty() {
            return;
        }
        for row in self.parked.take_free(|key| !is_busy(&self.partitions, hanging, key)) {
            self.in_flight.finish(row.seq);
            self.floor.is_below(row.seq);
        }
    }

    /// Hands over what was taken on and whose partition is not busy, lowest first; which rows.
    pub(super) fn send_parked(&mut self, busy: &HashSet<u32>) -> HashSet<i64> {
        let mut sent = HashSet::new();
        let mut takes_more = true;
        for row in self.parked.take_free(|key| is_busy(&self.partitions, busy, key)) {
            // Asked for each: a process that was frozen meanwhile may have lost it.
            let now = Instant::now();
            if !takes_more || !self.lease.may_send(now) {
                self.parked.park(row);
                continue;
            }
            match self.publisher.send(&row) {
                Ok(()) => {
                    let message = &row.message;
                    debug!(event.id = %message.event_id, "event {} of key {} sent", message.event_id, message.key);
                    self.in_flight.handed(row.seq, now);
                    sent.insert(row.seq);
                }
                // Both are tried again in the next cycle, the second one with a new producer.
                Err(SendError::QueueFull | SendError::Fatal(_)) => {
                    takes_more = false;
                    self.parked.park(row);
                }
                Err(error @ SendError::Refused(_)) => {
                    self.in_flight.finish(row.seq);
                    self.floor.is_below(row.seq);
                    self.refused(&row, &error, now);
                    self.refused_meanwhile.push((row.seq, row.message.key));
                }
            }
        }
        sent
    }

    /// Takes on what may be sent now. A row that may not be, whatever the reason, holds back the later rows of its key: they must
    /// not overtake it.
    pub(super) fn admit_all(
        &mut self,
        pending: Vec<PendingMessage>,
        Partitions { hanging, busy }: &Partitions,
        mut lanes: Lanes,
        was_whole: bool,
    ) -> Taken {
        let now = Instant::now();
        let refused = std::mem::take(&mut self.refused_meanwhile);
        if was_whole && (self.suspects() || !self.failed.is_empty()) {
            let seen: HashSet<i64> = pending.iter().map(|row| row.seq).chain(self.in_flight.seqs()).collect();
            self.failed.retain(&seen);
            self.held.retain(&seen);
            self.clear_failure_if_over();
        }
        let mut taken = Taken { of: pending.len(), ..Taken::default() };
        // Those were not in the read, as they were in flight when it went off; their later rows were.
        taken.passed_over.keys = refused.into_iter().map(|(_, key)| key).collect();
        for row in pending {
            let key = &row.message.key;
            // All by the same number, or a later row of a key might land elsewhere than one that was passed over.
            let partition = partition_of(key.as_bytes(), self.partitions_before);
            if self.follows_into_quarantine(&row) || taken.passed_over.keys.contains(key) {
                continue;
            }
            if self.is_held_back(partition, hanging, now) {
                taken.of_partitions += 1;
                taken.passed_over.partitions.insert(partition);
            } else if self.floor.passes_over(partition, key) {
                // An earlier one of its partition or key was passed over.
            } else if self.may_be_taken_on(&row, busy, &mut lanes, now, &mut taken.was_full) {
                let message = &row.message;
                let bytes = message.payload.len();
                self.in_flight.start(row.seq, &message.key, message.event_id, partition, bytes);
                self.parked.park(row);
                taken.rows += 1;
            } else {
                taken.passed_over.keys.insert(row.message.key);
            }
        }
        taken
    }

    fn may_be_taken_on(
        &mut self,
        row: &PendingMessage,
        busy: &HashSet<u32>,
        lanes: &mut Lanes,
        now: Instant,
        was_full: &mut bool,
    ) -> bool {
        let message = &row.message;
        if self.failed.must_wait(row.seq, now) {
            return false;
        }
        let admission = self.in_flight.admit(&message.key, message.payload.len());
        *was_full |= admission == Admission::Full;
        admission == Admission::Granted && self.has_lane(row, busy, lanes)
    }

    fn refused(&mut self, PendingMessage { seq, message }: &PendingMessage, error: &SendError, now: Instant) {
        if let SendError::Refused(error) = error
            && let Some(cause) = refused_for_good(error)
        {
            self.quarantine(*seq, &message.key, cause);
            return;
        }
        let what = format!("event {} of key {}: {error}", message.event_id, message.key);
        self.fail(*seq, &what, now);
    }
}

fn is_busy(partitions: &TopicPartitions, busy: &HashSet<u32>, key: &str) -> bool {
    !busy.is_empty() && busy.contains(&partitions.of_key(key))
}
