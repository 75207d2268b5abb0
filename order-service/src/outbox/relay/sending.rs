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
use crate::storage::outbox::BatchLimit;
use std::collections::HashSet;
use std::time::Instant;
use tracing::debug;

/// What became of a row that was to be sent.
enum Sent {
    /// The producer has it.
    Handed,
    /// It waits for its partition.
    Parked,
    /// Its turn comes later, and its key waits with it.
    Not,
}

impl Relay {
    /// Those that an event was sent to in an earlier cycle, and is not acknowledged yet.
    pub(super) fn partitions_with_stragglers(&self) -> HashSet<u32> {
        let acknowledged: HashSet<i64> = self.acknowledged.iter().copied().collect();
        let on_their_way = self
            .in_flight
            .keys()
            .filter(|(seq, _)| !acknowledged.contains(seq) && !self.parked.contains(*seq));
        on_their_way.map(|(_, key)| self.partitions.of_key(key)).collect()
    }

    /// Rows whose partition has no straggler any more, lowest first.
    pub(super) fn send_parked(&mut self, busy: &HashSet<u32>) -> HashSet<i64> {
        let mut sent = HashSet::new();
        if !self.lease.may_send(Instant::now()) {
            return sent;
        }
        for row in self.parked.take_free(|key| is_busy(&self.partitions, busy, key)) {
            match self.publisher.send(&row) {
                Ok(()) => _ = sent.insert(row.seq),
                Err(SendError::QueueFull | SendError::Fatal(_)) => self.parked.park(row),
                Err(error @ SendError::Refused(_)) => {
                    self.in_flight.finish(row.seq);
                    self.floor.is_below(row.seq);
                    self.refused(&row, &error, Instant::now());
                }
            }
        }
        sent
    }

    /// Sends what may be sent now. A row that may not be, whatever the reason, holds back the later rows of its key:
    /// they must not overtake it.
    pub(super) fn send_all(
        &mut self,
        pending: &[PendingMessage],
        busy: &HashSet<u32>,
        mut lanes: Lanes,
        limit: BatchLimit,
    ) -> HashSet<i64> {
        let now = Instant::now();
        let mut held_keys: HashSet<&str> = HashSet::new();
        let mut sent = HashSet::new();
        for row in pending {
            let key = row.message.key.as_str();
            if self.follows_into_quarantine(row) || held_keys.contains(key) {
                continue;
            }
            match self.send(row, busy, &mut lanes, now) {
                Sent::Handed => _ = sent.insert(row.seq),
                Sent::Parked => {}
                Sent::Not => _ = held_keys.insert(key),
            }
        }
        if i64::try_from(pending.len()).is_ok_and(|rows| rows < limit.rows) {
            let seen: HashSet<i64> = pending.iter().map(|row| row.seq).chain(self.in_flight.seqs()).collect();
            self.failed.retain(&seen);
            self.held.retain(&seen);
            self.clear_failure_if_over();
        }
        sent
    }

    fn send(
        &mut self,
        pending: &PendingMessage,
        busy: &HashSet<u32>,
        lanes: &mut Lanes,
        now: Instant,
    ) -> Sent {
        let message = &pending.message;
        let bytes = message.payload.len();
        if !self.lease.may_send(Instant::now()) {
            return Sent::Not;
        }
        if self.failed.must_wait(pending.seq, now) {
            return Sent::Not;
        }
        match self.in_flight.admit(&message.key, bytes) {
            Admission::Granted => {}
            Admission::KeyBusy | Admission::Full => return Sent::Not,
        }
        if !self.has_lane(pending, busy, lanes) {
            return Sent::Not;
        }
        if is_busy(&self.partitions, busy, &message.key) {
            self.in_flight.start(pending.seq, &message.key, bytes);
            self.parked.park(pending.clone());
            return Sent::Parked;
        }
        match self.publisher.send(pending) {
            Ok(()) => {
                self.in_flight.start(pending.seq, &message.key, bytes);
                debug!(event.id = %message.event_id, "event {} of key {} sent", message.event_id, message.key);
                Sent::Handed
            }
            // Both are seen again in the next cycle, the second one by a new producer.
            Err(SendError::QueueFull | SendError::Fatal(_)) => Sent::Not,
            Err(error @ SendError::Refused(_)) => {
                self.refused(pending, &error, now);
                Sent::Not
            }
        }
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
