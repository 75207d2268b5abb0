//! # Deliveries
//!
//! What becomes of what was handed over: acknowledged, refused, or not heard of yet.

use super::{IN_FLIGHT_FULL, PUBLISHING_FAILS, Relay};
use crate::kafka::event_publisher::{Delivery, refused_for_good, told_with_cure};
use crate::outbox::in_flight::InFlight;
use crate::storage::Session;
use crate::storage::error::DatabaseError;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// How many deliveries are taken at a time.
const MOST_DELIVERIES: usize = 1000;

/// What a cycle waits for.
pub(super) enum Awaited {
    /// The deliveries of these rows. What an earlier cycle left behind is not waited for.
    These(HashSet<i64>),
    /// Room for more.
    Room,
    /// This time; patience is no matter.
    Time(Instant),
}

impl Awaited {
    fn came(&mut self, seq: i64) {
        if let Self::These(seqs) = self {
            seqs.remove(&seq);
        }
    }

    fn is_there(&self, in_flight: &InFlight) -> bool {
        match self {
            Self::These(seqs) => seqs.is_empty(),
            Self::Room => in_flight.is_half_empty(),
            Self::Time(at) => Instant::now() >= *at,
        }
    }
}

impl Relay {
    /// Collects deliveries until what is awaited has come, or nothing came for a while. The lease is renewed meanwhile.
    pub(super) async fn await_until(
        &mut self,
        session: &Session,
        mut awaited: Awaited,
    ) -> Result<(), DatabaseError> {
        let patience_of = |awaited: &Awaited, straggler_after: Duration| match awaited {
            Awaited::Time(at) => *at,
            Awaited::These(_) | Awaited::Room => Instant::now() + straggler_after,
        };
        let mut patience = patience_of(&awaited, self.settings.straggler_after);
        let mut deliveries = Vec::with_capacity(MOST_DELIVERIES);
        while !awaited.is_there(&self.in_flight) {
            let renew_at = self.lease.renew_at().unwrap_or(patience);
            tokio::select! {
                biased;
                _ = self.deliveries.recv_many(&mut deliveries, MOST_DELIVERIES) => {
                    for delivery in deliveries.drain(..) {
                        awaited.came(delivery.seq);
                        self.take(delivery);
                    }
                    patience = patience_of(&awaited, self.settings.straggler_after);
                }
                () = sleep_until(patience.into()) => return Ok(()),
                () = sleep_until(renew_at.into()) => if !self.leads(session).await? { return Ok(()) },
            }
        }
        Ok(())
    }

    pub(super) fn take_deliveries(&mut self) {
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.take(delivery);
        }
    }

    pub(super) fn take(&mut self, Delivery { seq, result }: Delivery) {
        match result {
            Ok(()) => {
                if let Some(partition) = self.in_flight.partition_of(seq) {
                    self.progress.insert(partition, Instant::now());
                }
                self.acknowledged.extend(self.in_flight.acknowledged(seq));
                self.metrics.published.inc();
                self.replacements.succeeded();
                self.is_beyond_suspicion(seq);
                self.read_again_at = None;
                self.is_gone(seq);
            }
            Err(error) => {
                let key = self.in_flight.key_of(seq).map(str::to_owned);
                self.in_flight.finish(seq);
                self.floor.is_below(seq);
                if self.stands_by() {
                    // Its troubles are those of who publishes now.
                    return;
                }
                if let (Some(key), Some(cause)) = (key, refused_for_good(&error)) {
                    if self.was_refused_alone(seq) {
                        self.quarantine(seq, &key, cause);
                        return;
                    }
                } else {
                    self.is_not_alone_any_more(seq);
                }
                self.fail(
                    seq,
                    &format!("outbox row {seq} is not acknowledged: {}", told_with_cure(&error)),
                    Instant::now(),
                );
            }
        }
    }

    /// The row is still there, and is sent again after a wait.
    pub(super) fn fail(&mut self, seq: i64, what: &str, now: Instant) {
        self.failed.failed(seq, now);
        self.metrics.failed.inc();
        self.alarms.raise(PUBLISHING_FAILS, "", format!("{what}; it stays in the outbox and is tried again"));
    }

    /// The row is not to be sent any more: it was acknowledged, or moved to quarantine.
    pub(super) fn is_gone(&mut self, seq: i64) {
        self.failed.acknowledged(seq);
        self.clear_failure_if_over();
    }

    pub(super) fn clear_failure_if_over(&self) {
        if self.failed.is_empty() {
            self.alarms.clear(PUBLISHING_FAILS, "");
        }
    }

    /// Whether as much as is allowed waits for its acknowledgement, or of every partition as much as it may; or as many rows are
    /// acknowledged and cannot be deleted.
    pub(super) fn is_full(&self) -> bool {
        let (now, nothing_hangs) = (Instant::now(), HashSet::new());
        self.in_flight.is_full()
            || self.locked.len() >= self.settings.max_in_flight
            || (0..self.partitions_before).all(|partition| self.is_held_back(partition, &nothing_hangs, now))
    }

    pub(super) fn show_in_flight(&self) {
        self.metrics.in_flight.set(i64::try_from(self.in_flight.awaited()).unwrap_or(i64::MAX));
    }

    pub(super) fn report_fullness(&self) {
        self.show_in_flight();
        if self.stands_by() {
            return;
        }
        if self.is_full() {
            let (awaited, locked) = (self.in_flight.awaited(), self.locked.len());
            let detail = format!(
                "{awaited} events wait for kafka's acknowledgement, and {locked} have it but other sessions have their rows \
                 locked: nothing more is taken on until some of them are done"
            );
            self.alarms.raise(IN_FLIGHT_FULL, "", detail);
        } else {
            self.alarms.clear(IN_FLIGHT_FULL, "");
        }
    }
}
