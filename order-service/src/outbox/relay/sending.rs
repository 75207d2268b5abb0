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
use std::collections::HashSet;
use std::time::Instant;
use tracing::debug;

impl Relay {
    /// Those with an event whose acknowledgement is overdue, and no other acknowledgement for as long: a Kafka that is slow
    /// with much is no Kafka that hangs. While rows are suspected, those with any event on its way.
    pub(super) fn busy_partitions(&self, now: Instant) -> HashSet<u32> {
        let of = |key: &str| self.partitions.of_key(key);
        if self.suspects() {
            return self.in_flight.on_their_way().map(|(_, key)| of(key)).collect();
        }
        let Some(overdue) = now.checked_sub(self.settings.straggler_after) else { return HashSet::new() };
        let hangs = |partition: &u32| self.progress.get(partition).is_none_or(|last| *last < overdue);
        self.in_flight.handed_before(overdue).map(of).filter(hangs).collect()
    }

    /// Hands over what was taken on and whose partition is not busy, lowest first; which rows.
    pub(super) fn send_parked(&mut self, busy: &HashSet<u32>) -> HashSet<i64> {
        let mut sent = HashSet::new();
        for row in self.parked.take_free(|key| is_busy(&self.partitions, busy, key)) {
            // Asked for each: a process that was frozen meanwhile may have lost it.
            let now = Instant::now();
            if !self.lease.may_send(now) {
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
                Err(SendError::QueueFull | SendError::Fatal(_)) => self.parked.park(row),
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

    /// Takes on what may be sent now; how many rows. A row that may not be, whatever the reason, holds back the later rows of
    /// its key: they must not overtake it.
    pub(super) fn admit_all(
        &mut self,
        pending: Vec<PendingMessage>,
        busy: &HashSet<u32>,
        mut lanes: Lanes,
        was_whole: bool,
    ) -> usize {
        let now = Instant::now();
        let refused = std::mem::take(&mut self.refused_meanwhile);
        if was_whole && (self.suspects() || !self.failed.is_empty()) {
            let seen: HashSet<i64> = pending.iter().map(|row| row.seq).chain(self.in_flight.seqs()).collect();
            self.failed.retain(&seen);
            self.held.retain(&seen);
            self.clear_failure_if_over();
        }
        // Those were not in the read, as they were in flight when it went off; their later rows were.
        let mut held_keys: HashSet<String> = refused.into_iter().map(|(_, key)| key).collect();
        let mut admitted = 0;
        for row in pending {
            if self.follows_into_quarantine(&row) || held_keys.contains(&row.message.key) {
                continue;
            }
            if self.may_be_taken_on(&row, busy, &mut lanes, now) {
                let message = &row.message;
                self.in_flight.start(row.seq, &message.key, message.event_id, message.payload.len());
                self.parked.park(row);
                admitted += 1;
            } else {
                held_keys.insert(row.message.key);
            }
        }
        admitted
    }

    fn may_be_taken_on(
        &mut self,
        row: &PendingMessage,
        busy: &HashSet<u32>,
        lanes: &mut Lanes,
        now: Instant,
    ) -> bool {
        let message = &row.message;
        !self.failed.must_wait(row.seq, now)
            && self.in_flight.admit(&message.key, message.payload.len()) == Admission::Granted
            && self.has_lane(row, busy, lanes)
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
