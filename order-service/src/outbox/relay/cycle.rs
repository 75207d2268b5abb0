//! # The cycle
//!
//! One read, with the delete of what was acknowledged, what is handed over meanwhile, and whether its acknowledgements are
//! waited for.

use super::Relay;
use super::deliveries::Awaited;
use super::sending::{Partitions, Taken};
use crate::outbox::message::PendingMessage;
use crate::storage::Session;
use crate::storage::error::DatabaseError;
use crate::storage::outbox::{self, BatchLimit, Unread};
use shared_messages::topics::partition_of;
use std::collections::HashSet;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Reads that find nothing to hand over take one part in so many of the time, and those that take longer than
/// [`LONGEST_FUTILE_WAIT`] from the floor to the end at most half of it: while Kafka hangs, the database is the buyers'.
const SHARE_OF_FUTILE_READS: u32 = 10;
const LONGEST_FUTILE_WAIT: Duration = Duration::from_secs(1);
/// So many keys are remembered while rows are passed over.
const MOST_KEYS_PASSED_OVER: usize = 10_000;
/// So many locked rows are tried again at a time.
const MOST_TRIED_AGAIN: usize = 1_000;
/// What a read takes while a partition has a straggler: one part in so many of what it else may.
const SHARE_BESIDE_STRAGGLERS: i64 = 10;
/// A read of so many rows is no burden.
const FEW_ROWS: i64 = 200;

impl Relay {
    /// Deletes what was acknowledged, reads, sends, and waits; whether there was nothing to do.
    ///
    /// What was acknowledged counts as in flight until its row is gone, so a key's next event is not sent before that: its
    /// row would else be read, and sent, a second time.
    pub(super) async fn cycle(&mut self, session: &Session) -> Result<bool, DatabaseError> {
        self.take_deliveries();
        if self.has_rows_to_quarantine() {
            // They move first: a read would find them, and they would be sent once more.
            return Ok(false);
        }
        let began = Instant::now();
        self.rebook_if_partitions_changed();
        let hanging = self.hanging_partitions(began);
        self.give_up_parked_of(&hanging);
        let partitions = Partitions { busy: self.busy_partitions(&hanging), hanging };
        let Partitions { hanging, busy } = &partitions;
        if self.is_full() || self.read_again_at.is_some_and(|at| began < at) {
            return self.cycle_without_read(session, busy).await;
        }
        self.begin_at_floor_if_due(hanging, began);
        let limit = self.read_limit(hanging);
        let reads_all = self.floor.reads_all();
        let (deleted, pending, mut sent) = self.read_and_send_parked(session, busy, limit).await?;
        let deleted = self.forget_acknowledged(session, deleted).await?;
        if !reads_all && self.floor.reads_all() {
            // What was passed over before this read is forgotten, and its rows might overtake that.
            return Ok(false);
        }
        let lanes = self.lanes(&sent);
        let is_full = limit.is_reached_by(&pending);
        let [lowest, highest] = [pending.first(), pending.last()].map(|row| row.map(|row| row.seq));
        let taken = self.admit_all(pending, &partitions, lanes, reads_all && !is_full);
        let may_go_on = is_full && (taken.is_all() || self.may_pass_over(&taken, hanging));
        let stays = is_full && taken.was_full && self.floor.partitions_passed_over().next().is_some();
        let goes_on = match highest {
            Some(highest) if may_go_on => self.floor.has_taken_all_up_to(highest, taken.passed_over),
            // The same read once more, when there is room: getting here again, past all that hangs, would take some.
            Some(_) if stays => true,
            _ => {
                self.floor.read_all_again();
                false
            }
        };
        // Read on without waiting for acknowledgements, as long as most of what a full read has brought can be taken on.
        if is_full && taken.rows * 2 >= taken.of && busy.is_empty() && !self.suspects() {
            self.pace.has_read(lowest, taken.rows, began);
            self.read_on(session, busy).await?;
            return Ok(false);
        }
        self.pace.waits_for_nothing();
        sent.extend(self.send_parked(busy));
        let found = taken.rows + taken.of_partitions > 0;
        self.rest_behind_futile_reads(goes_on, found, !sent.is_empty());
        self.report_fullness();
        if deleted == 0 && sent.is_empty() {
            return Ok(reads_all && !goes_on);
        }
        self.await_until(session, Awaited::These(sent)).await?;
        self.report_fullness();
        Ok(false)
    }

    /// What was taken on is handed over behind the next read, if that may go off at once.
    async fn read_on(&mut self, session: &Session, busy: &HashSet<u32>) -> Result<(), DatabaseError> {
        let awaited = match self.pace.next_read() {
            Some(at) => Awaited::Time(at),
            None if self.in_flight.is_half_empty() => return Ok(()),
            None => Awaited::Room,
        };
        self.send_parked(busy);
        self.await_until(session, awaited).await?;
        self.report_fullness();
        Ok(())
    }

    async fn cycle_without_read(
        &mut self,
        session: &Session,
        busy: &HashSet<u32>,
    ) -> Result<bool, DatabaseError> {
        let sent = self.send_parked(busy);
        let deleted = self.delete_acknowledged(session).await?;
        self.report_fullness();
        if deleted == 0 && sent.is_empty() {
            return Ok(true);
        }
        self.await_until(session, Awaited::These(sent)).await?;
        self.report_fullness();
        Ok(false)
    }

    /// The delete and the read are one round trip, and on the wire before the rows at hand go to the producer: database and
    /// producer work at the same time.
    async fn read_and_send_parked(
        &mut self,
        session: &Session,
        busy: &HashSet<u32>,
        limit: BatchLimit,
    ) -> Result<(usize, Vec<PendingMessage>, HashSet<i64>), DatabaseError> {
        let above = self.floor.read_above();
        let in_flight = self.in_flight.seqs_above(above);
        let some_are_locked = self.try_locked_again_if_due(Instant::now());
        let acknowledged = self.acknowledged.clone();
        let deleted = outbox::delete(session, &acknowledged, some_are_locked);
        let read = outbox::pending(session, Unread { above, but: &in_flight }, limit);
        let database = self.database.clone();
        self.refused_meanwhile.clear();
        let mut round_trip = pin!(database.within_limit(async { tokio::try_join!(deleted, read) }));
        let at_once = futures_util::poll!(&mut round_trip);
        // The statements are on the wire when the session's own task has had its turn.
        tokio::task::yield_now().await;
        let sent = self.send_parked(busy);
        let (deleted, pending) = match at_once {
            Poll::Ready(answer) => answer?,
            Poll::Pending => round_trip.await?,
        };
        Ok((deleted, pending, sent))
    }

    /// The number of partitions is not known at once, and may grow.
    fn rebook_if_partitions_changed(&mut self) {
        let number = self.partitions.number();
        if number != self.partitions_before {
            self.partitions_before = number;
            self.in_flight.rebook(|key| partition_of(key.as_bytes(), number));
            self.progress.clear();
            self.floor.read_all_again();
        }
    }

    /// Rows may be passed over for as long as all of their partitions hang.
    fn begin_at_floor_if_due(&mut self, hanging: &HashSet<u32>, now: Instant) {
        let moves = |partition: u32| !self.is_held_back(partition, hanging, now);
        if self.floor.partitions_passed_over().any(moves) {
            self.floor.read_all_again();
        }
        if self.floor.reads_all() {
            (self.pass_began, self.pass_was_useful) = (Some(now), false);
        }
    }

    /// Whether reads may go on behind rows that were not taken on: most of those are of partitions that hang, and there are
    /// others.
    fn may_pass_over(&self, taken: &Taken, hanging: &HashSet<u32>) -> bool {
        let now = Instant::now();
        taken.of_partitions > 0
            && taken.of_partitions * 2 >= taken.of - taken.rows
            && !taken.was_full
            && self.floor.keys_passed_over() + taken.passed_over.keys.len() <= MOST_KEYS_PASSED_OVER
            && (0..self.partitions_before).any(|partition| !self.is_held_back(partition, hanging, now))
    }

    /// Reads from the floor to the end that found rows and could hand over none were futile. They are not interrupted: the next
    /// read may find rows of what does not hang.
    fn rest_behind_futile_reads(&mut self, goes_on: bool, found: bool, was_useful: bool) {
        self.pass_was_useful |= was_useful;
        let began = self.pass_began.filter(|_| found && !goes_on && !self.pass_was_useful);
        let rest = began.map(|began| {
            let took = began.elapsed();
            (took * SHARE_OF_FUTILE_READS).min(took.max(LONGEST_FUTILE_WAIT))
        });
        self.read_again_at = rest.map(|rest| Instant::now() + rest);
    }

    /// Little while somebody hangs, as most of it may be for him, unless what is for him is passed over. Not much more than can be
    /// taken on; but some more, as the first ones may be of keys that wait.
    fn read_limit(&self, busy: &HashSet<u32>) -> BatchLimit {
        let share = if busy.is_empty() || !self.floor.reads_all() { 1 } else { SHARE_BESIDE_STRAGGLERS };
        let room = i64::try_from(self.in_flight.room()).unwrap_or(i64::MAX).max(FEW_ROWS);
        BatchLimit {
            rows: (self.pace.rows(self.settings.batch_rows) / share).min(room).max(1),
            bytes: self.settings.batch_bytes,
        }
    }

    /// When the delete fails the rows stay remembered for the next session; when the process dies, they are repeated.
    pub(super) async fn delete_acknowledged(&mut self, session: &Session) -> Result<usize, DatabaseError> {
        let some_are_locked = self.try_locked_again_if_due(Instant::now());
        let deleted = outbox::delete(session, &self.acknowledged, some_are_locked);
        let deleted = self.database.within_limit(deleted).await?;
        self.forget_acknowledged(session, deleted).await
    }

    /// A row that another session has locked holds up its own key, and is tried again as often as an idle relay looks. Whether there
    /// is one to try.
    fn try_locked_again_if_due(&mut self, now: Instant) -> bool {
        let is_due = !self.locked.is_empty() && now >= self.try_locked_at;
        if is_due {
            let some = self.locked.len().min(MOST_TRIED_AGAIN);
            self.acknowledged.extend(self.locked.drain(..some));
        }
        is_due
    }

    /// So many of their rows were deleted. Of the others, those that are still there are locked; the rest was deleted by
    /// somebody else, or another event's row has their seq. How many are gone.
    async fn forget_acknowledged(
        &mut self,
        session: &Session,
        deleted: usize,
    ) -> Result<usize, DatabaseError> {
        let mut left = Vec::new();
        if deleted < self.acknowledged.len() {
            left = self.database.within_limit(outbox::left_of(session, &self.acknowledged)).await?;
            self.try_locked_at = Instant::now() + self.settings.poll_interval;
        }
        let left: HashSet<i64> = left.into_iter().collect();
        let acknowledged = std::mem::take(&mut self.acknowledged);
        let (mut locked, gone): (Vec<_>, Vec<_>) =
            acknowledged.into_iter().partition(|row| left.contains(&row.seq));
        let all_were_deleted = deleted == gone.len();
        for row in &gone {
            self.in_flight.finish(row.seq);
            if !all_were_deleted {
                // It may be another event's by now, which was left out of all reads.
                self.floor.is_below(row.seq);
            }
        }
        self.locked.append(&mut locked);
        self.deleted_since_look += gone.len();
        Ok(gone.len())
    }
}
