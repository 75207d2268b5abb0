//! # Assignments
//!
//! What this member owns at the moment and what it is doing about it: pure data, told what was read, what
//! was reported and what time it is, and answering which calls to start, what to pause, what to park and what may be
//! committed.
//!
//! An *assignment* is one period in which we own a partition. Everything in flight carries its epoch, and the
//! report of an earlier one is dropped and counted: the partition may have been read further by somebody
//! else meanwhile, or be ours again from another position (`a_report_of_an_earlier_assignment_changes_nothing`).
//!
//! A record that waits for its retry takes no place from others; how many calls run at a time while much fails is the
//! breaker's affair.

mod at_fault;
mod outcomes;
mod reports;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::assignment::{Assignment, Away, Commit, Intake, Seen, Window};
use super::positions::StartPosition;
use super::retries::{Retries, WaitingRetry};
use super::watchdog::Movement;
use crate::delivery::RetryPolicy;
use crate::delivery::blame::BlameRules;
use crate::delivery::breaker::{Breaker, BreakerRules, BreakerState};
use crate::delivery::call::Call;
use crate::delivery::ceiling::{Ceiling, CeilingRules};
use crate::status::Status;
pub(crate) use outcomes::{IntakeChanges, Parked, Parking, ParkingStep, Reported};

/// Tells one assignment of a partition from every other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AssignmentEpoch(u64);

/// The limits and the schedules of delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliveryRules {
    pub(crate) in_flight_limit: usize,
    pub(crate) window: Window,
    pub(crate) retry: RetryPolicy,
    pub(crate) breaker: BreakerRules,
    pub(crate) blame: BlameRules,
    pub(crate) ceiling: CeilingRules,
}

/// All assignments of this member.
pub(crate) struct Assignments<R> {
    rules: DeliveryRules,
    owned: BTreeMap<i32, Assignment<R>>,
    breaker: Breaker,
    retries: Retries,
    /// Calls to the platform, those of earlier assignments too: a series of rebalances cannot put more on it than
    /// the limit says.
    calls_on_the_wire: usize,
    /// Of these, the calls of earlier assignments. They keep their places in the limit, but are no part of what the breaker allows:
    /// one that never ends would else keep an outage from ever being over.
    calls_left_behind: usize,
    /// The calls that had ended at the last look.
    ended_at_last_look: u64,
    /// Retries and first calls take turns, so that neither is held up by many of the other.
    retry_came_last: bool,
    epochs_so_far: u64,
    /// The partition that a call was started for last: the next one comes first next time.
    last_served: i32,
    late_reports: u64,
    ended: u64,
    taken_so_far: u64,
    parking_from: Option<Instant>,
    /// All partitions together hold more bytes than a window's.
    is_crowded: bool,
}

impl<R: Clone> Assignments<R> {
    pub(crate) fn new(rules: DeliveryRules) -> Self {
        Self {
            rules,
            owned: BTreeMap::new(),
            breaker: Breaker::new(rules.breaker, rules.in_flight_limit),
            retries: Retries::default(),
            calls_on_the_wire: 0,
            calls_left_behind: 0,
            ended_at_last_look: 0,
            retry_came_last: false,
            epochs_so_far: 0,
            last_served: -1,
            late_reports: 0,
            ended: 0,
            taken_so_far: 0,
            parking_from: None,
            is_crowded: false,
        }
    }

    /// A partition is ours from now on, read from `start`. Where an earlier owner has reached the ceiling of dead
    /// letters, the end of these at that time.
    pub(crate) fn assign(
        &mut self,
        partition: i32,
        start: StartPosition,
        ceiling_reached_at: Option<i64>,
        now: Instant,
    ) {
        self.revoke(partition);
        self.epochs_so_far += 1;
        if ceiling_reached_at.is_some() {
            self.parking_from = Some(now);
        }
        let ceiling = Ceiling::new(self.rules.ceiling, ceiling_reached_at, now);
        let assignment = Assignment::new(AssignmentEpoch(self.epochs_so_far), start, ceiling);
        self.owned.insert(partition, assignment);
    }

    /// The client was told to pause the partition in an earlier assignment, and still does.
    pub(crate) fn is_paused_already(&mut self, partition: i32) {
        if let Some(assignment) = self.owned.get_mut(&partition) {
            assignment.is_paused_already();
        }
    }

    /// Nothing more of this partition starts or is tried again, but for what others have overtaken; what is on the wire may end.
    pub(crate) fn close(&mut self, partition: i32) {
        let Some(assignment) = self.owned.get_mut(&partition) else { return };
        assignment.close(self.breaker.state() == BreakerState::Open);
        self.retries.forget(partition);
    }

    /// The partition is no longer ours.
    pub(crate) fn revoke(&mut self, partition: i32) {
        self.close(partition);
        if let Some(assignment) = self.owned.remove(&partition) {
            self.calls_left_behind += assignment.calls_on_the_wire();
        }
    }

    /// Whether a record of this partition is to be looked at.
    pub(crate) fn takes_in(&self, partition: i32) -> bool {
        self.owned.get(&partition).is_some_and(|assignment| assignment.intake == Intake::Open)
    }

    /// Queues a record that was read. False if it was read before.
    pub(crate) fn take_in(
        &mut self,
        partition: i32,
        offset: i64,
        key: Option<&[u8]>,
        (record, bytes): (R, usize),
    ) -> bool {
        self.owned
            .get_mut(&partition)
            .is_some_and(|assignment| assignment.take_in(offset, key, record, bytes))
    }

    /// How many records wait for nothing but a place.
    pub(crate) fn ready(&self) -> usize {
        self.owned.values().map(|assignment| assignment.queues.ready()).sum()
    }

    /// Whether a partition has enough at hand, if its position has moved a moment ago.
    pub(crate) fn one_has_enough(&self, moment: Duration, now: Instant) -> bool {
        let records = (self.rules.window.records / 2).min(10 * self.rules.in_flight_limit as u64);
        self.owned.values().any(|assignment| assignment.has_enough(records, moment, now))
    }

    /// How many calls have ended so far.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// Takes nothing in from this partition any more. What was taken in finishes and is committed.
    pub(crate) fn stop(&mut self, partition: i32) {
        if let Some(assignment) = self.owned.get_mut(&partition)
            && assignment.intake != Intake::Closed
        {
            assignment.intake = Intake::Stopped;
        }
    }

    /// The next call to start, if there is one and the platform bears it.
    pub(crate) fn start_next(&mut self, now: Instant) -> Option<Call<R>> {
        if !self.has_room() || !self.breaker.may_start(self.calls_of_owned(), now) {
            return None;
        }
        let (call, is_retry) = if self.retry_came_last {
            let queued = self.start_queued();
            let is_retry = queued.is_none();
            (queued.or_else(|| self.start_retry(now))?, is_retry)
        } else {
            let retry = self.start_retry(now);
            let is_retry = retry.is_some();
            (retry.or_else(|| self.start_queued())?, is_retry)
        };
        self.retry_came_last = is_retry;
        self.calls_on_the_wire += 1;
        Some(call)
    }

    fn start_retry(&mut self, now: Instant) -> Option<Call<R>> {
        // A platform that is away is asked with whatever comes first, at the breaker's pace.
        let by = (self.breaker.state() != BreakerState::Open).then_some(now);
        while let Some(WaitingRetry { epoch, partition, offset }) = self.retries.take(by) {
            let assignment = self.owned.get_mut(&partition).filter(|assignment| assignment.epoch == epoch);
            if let Some(assignment) = assignment
                && let Some(work) = assignment.tracker.get(offset)
            {
                let record = work.record.clone();
                assignment.on_the_wire += 1;
                return Some(Call { assignment: epoch, partition, offset, record });
            }
        }
        None
    }

    fn start_queued(&mut self) -> Option<Call<R>> {
        let after = self.last_served.saturating_add(1);
        let mut in_turn = self.owned.range(after..).chain(self.owned.range(..after));
        let partition = in_turn.find(|(_, assignment)| assignment.queues.has_ready()).map(|(it, _)| *it)?;
        let assignment = self.owned.get_mut(&partition)?;
        let offset = assignment.start_next()?;
        let record = assignment.tracker.get(offset)?.record.clone();
        self.last_served = partition;
        Some(Call { assignment: assignment.epoch, partition, offset, record })
    }

    /// When there is something to start or to look at that does not announce itself.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        let parking = self.parking_from;
        let has_room = self.has_room();
        let held = self.breaker.held_until();
        let has_queued = || self.owned.values().any(|assignment| assignment.queues.has_ready());
        let retry = match self.breaker.state() {
            BreakerState::Open => self.retries.next_at().map(|_| now),
            BreakerState::Closed | BreakerState::Recovering => self.retries.next_at(),
        };
        let queued = held.filter(|held| *held > now && has_queued());
        let call = [retry.map(|at| held.map_or(at, |held| at.max(held))), queued].into_iter().flatten().min();
        [parking, call.filter(|_| has_room)].into_iter().flatten().min()
    }

    /// What a partition may hold: the window's bytes, or its share of them while all partitions together hold more. So memory is
    /// bounded for the member, and one partition alone may use all of it.
    fn window(&mut self) -> Window {
        let Window { records, bytes } = self.rules.window;
        let held: u64 = self.owned.values().map(Assignment::bytes).sum();
        self.is_crowded = held > if self.is_crowded { bytes / 2 } else { bytes };
        let among = if self.is_crowded { self.owned.len().max(1) as u64 } else { 1 };
        Window { records, bytes: (bytes / among).max(1) }
    }

    /// What the client is to be told.
    pub(crate) fn intake_changes(&mut self) -> IntakeChanges {
        let window = self.window();
        let platform_is_away = self.breaker.state() == BreakerState::Open;
        let mut changes = IntakeChanges::default();
        for (partition, assignment) in &mut self.owned {
            match assignment.steer(window, platform_is_away) {
                Some(true) => changes.pause.push(*partition),
                Some(false) => changes.resume.push(*partition),
                None => {}
            }
        }
        changes
    }

    /// Whether these partitions, which were closed, have calls or dead letters on the wire, or calls that are still to start until
    /// then.
    pub(crate) fn are_draining(&self, partitions: &[i32], deadline: Instant) -> bool {
        let starts = self.may_start_by(deadline);
        partitions
            .iter()
            .filter_map(|partition| self.owned.get(partition))
            .any(|assignment| assignment.on_the_wire > 0 || (starts && assignment.queues.has_ready()))
    }

    /// Whether the platform is to be called until then, as far as is known now.
    pub(crate) fn may_start_by(&self, deadline: Instant) -> bool {
        let is_held = self.breaker.held_until().is_some_and(|held| held > deadline);
        self.breaker.state() != BreakerState::Open && !is_held
    }

    /// What may be committed for these partitions, whether it was before or not.
    pub(crate) fn committable(&self, partitions: &[i32]) -> Vec<Commit> {
        let commits =
            partitions.iter().filter_map(|partition| self.owned.get(partition)?.committable(*partition));
        commits.collect()
    }

    /// What may be committed and was not sent yet. From now on it was.
    pub(crate) fn take_commits(&mut self) -> Vec<Commit> {
        let commits =
            self.owned.iter_mut().filter_map(|(partition, assignment)| assignment.take_commit(*partition));
        commits.collect()
    }

    /// A commit of this partition failed: it is to be sent again.
    pub(crate) fn forget_commit(&mut self, partition: i32) {
        if let Some(assignment) = self.owned.get_mut(&partition) {
            assignment.forget_commit();
        }
    }

    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.owned.keys().copied().collect()
    }

    /// Where the client reads on.
    pub(crate) fn reads_on_from(&self, partition: i32) -> Option<StartPosition> {
        self.owned.get(&partition)?.reads_on_from()
    }

    /// All that the client has fetched of this partition before this offset was handed over.
    pub(crate) fn is_fetched_to(&mut self, partition: i32, next: i64) {
        if let Some(assignment) = self.owned.get_mut(&partition) {
            assignment.is_fetched_to(next);
        }
    }

    pub(crate) fn calls_on_the_wire(&self) -> usize {
        self.calls_on_the_wire
    }

    /// Whether there is a place for one more call, if the platform bears it.
    pub(crate) fn has_room(&self) -> bool {
        self.calls_on_the_wire < self.rules.in_flight_limit && self.breaker.has_room(self.calls_of_owned())
    }

    /// Calls to the platform for what this member owns now.
    fn calls_of_owned(&self) -> usize {
        self.calls_on_the_wire.saturating_sub(self.calls_left_behind)
    }

    /// How many reports came after the end of their assignment.
    pub(crate) fn late_reports(&self) -> u64 {
        self.late_reports
    }

    /// How all of it stands, given what the client has seen, and what each partition did since the last look.
    pub(crate) fn look(
        &mut self,
        seen: &BTreeMap<i32, Seen>,
        kafka_is_away: bool,
        now: Instant,
    ) -> (Status, Vec<(i32, Movement)>) {
        let held = self.breaker.held_until().filter(|held| *held > now);
        // During an outage one call asks for all. As long as that ends, well or not, the others wait for the platform; behind one
        // that does not end they would wait for ever.
        let has_asked = self.ended != std::mem::replace(&mut self.ended_at_last_look, self.ended);
        let platform_is_away = held.is_some() || (has_asked && self.breaker.state() == BreakerState::Open);
        let away = Away { platform: platform_is_away, kafka: kafka_is_away };
        let (mut partitions, mut movements) = (Vec::new(), Vec::new());
        for (partition, assignment) in &mut self.owned {
            let seen = seen.get(partition).copied().unwrap_or_default();
            let retrying = self.retries.of(*partition);
            let (status, movement) =
                assignment.look(*partition, seen, retrying, self.rules.window, away, now);
            partitions.push(status);
            movements.push((*partition, movement));
        }
        let status = Status {
            breaker: self.breaker.state(),
            calls_on_the_wire: self.calls_on_the_wire,
            calls_allowed: self.breaker.allowed(),
            in_flight_limit: self.rules.in_flight_limit,
            held_for_seconds: held.map(|held| (held - now).as_secs_f64()),
            late_reports: self.late_reports,
            bytes: partitions.iter().map(|partition| partition.bytes).sum(),
            window_bytes: self.rules.window.bytes,
            partitions,
            ..Status::default()
        };
        (status, movements)
    }

    /// Partitions that the client was told to pause.
    pub(crate) fn paused(&self) -> Vec<i32> {
        let paused = self.owned.iter().filter(|(_, assignment)| assignment.is_paused());
        paused.map(|(partition, _)| *partition).collect()
    }

    pub(crate) fn ceiling_window(&self) -> Duration {
        self.rules.ceiling.window
    }

    pub(crate) fn breaker_state(&self) -> BreakerState {
        self.breaker.state()
    }
}

#[cfg(test)]
#[path = "assignments_tests.rs"]
mod tests;
