//! # Assignments
//!
//! What this member owns at the moment and what it is doing about it: pure data, told what was read, what
//! was reported and what time it is, and answering which calls to start, what to pause and what may be
//! committed.
//!
//! An *assignment* is one period in which we own a partition. Everything in flight carries its epoch, and the
//! report of an earlier one is dropped and counted: the partition may have been read further by somebody
//! else meanwhile, or be ours again from another position (`a_report_of_an_earlier_assignment_changes_nothing`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::in_flight_budget::InFlightBudget;
use super::key_queues::KeyQueues;
use super::offset_tracker::{NextOffset, OffsetTracker};
use super::positions::StartPosition;
use crate::delivery::RetryPolicy;
use crate::delivery::call::{Call, Report};
use crate::sink::DeliveryFailure;

/// Tells one assignment of a partition from every other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AssignmentEpoch(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Flowing,
    /// The window is full.
    Paused,
    /// A record that cannot be understood, or a position that is gone. Nothing beyond is taken in.
    Stopped,
    /// The partition is being handed back: nothing new starts.
    Closed,
}

struct Attempts<E> {
    event: Arc<E>,
    failures: u32,
}

struct Assignment<E> {
    epoch: AssignmentEpoch,
    start: StartPosition,
    tracker: OffsetTracker,
    queues: KeyQueues<Arc<E>>,
    attempts: HashMap<i64, Attempts<E>>,
    /// How many calls are on the wire, as opposed to waiting for their retry.
    on_the_wire: usize,
    intake: Intake,
    next_read: Option<i64>,
    commit_sent: Option<NextOffset>,
}

#[derive(Debug, Clone, Copy)]
struct WaitingRetry {
    epoch: AssignmentEpoch,
    partition: i32,
    offset: i64,
}

/// The limits and the schedule of delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliveryRules {
    pub(crate) in_flight_limit: usize,
    pub(crate) window: u64,
    pub(crate) retry: RetryPolicy,
}

/// What a report led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reported<E> {
    Delivered,
    /// It is tried again.
    Failed {
        event: Arc<E>,
        failures: u32,
        again_at: Instant,
        cause: DeliveryFailure,
    },
    /// It failed while its partition was handed back: the next owner repeats it.
    LeftToTheNextOwner,
    /// It belongs to an earlier assignment.
    Late,
}

/// Which partitions to pause and which to resume.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IntakeChanges {
    pub(crate) pause: Vec<i32>,
    pub(crate) resume: Vec<i32>,
}

/// All assignments of this member.
pub(crate) struct Assignments<E> {
    rules: DeliveryRules,
    owned: BTreeMap<i32, Assignment<E>>,
    budget: InFlightBudget,
    retries: BTreeMap<(Instant, u64), WaitingRetry>,
    retries_so_far: u64,
    epochs_so_far: u64,
    /// The partition that a call was started for last: the next one comes first next time.
    last_served: i32,
    late_reports: u64,
}

impl<E> Assignments<E> {
    pub(crate) fn new(rules: DeliveryRules) -> Self {
        Self {
            rules,
            owned: BTreeMap::new(),
            budget: InFlightBudget::new(rules.in_flight_limit),
            retries: BTreeMap::new(),
            retries_so_far: 0,
            epochs_so_far: 0,
            last_served: -1,
            late_reports: 0,
        }
    }

    /// A partition is ours from now on, read from `start`.
    pub(crate) fn assign(&mut self, partition: i32, start: StartPosition) {
        self.revoke(partition);
        self.epochs_so_far += 1;
        let assignment = Assignment {
            epoch: AssignmentEpoch(self.epochs_so_far),
            start,
            tracker: OffsetTracker::default(),
            queues: KeyQueues::default(),
            attempts: HashMap::new(),
            on_the_wire: 0,
            intake: Intake::Flowing,
            next_read: None,
            commit_sent: None,
        };
        self.owned.insert(partition, assignment);
    }

    /// Nothing more of this partition starts or is tried again; what is on the wire may end.
    pub(crate) fn close(&mut self, partition: i32) {
        let Some(assignment) = self.owned.get_mut(&partition) else { return };
        assignment.intake = Intake::Closed;
        assignment.queues.clear_waiting();
        let budget = &mut self.budget;
        self.retries.retain(|_, waiting| {
            let stays = waiting.partition != partition;
            if !stays {
                budget.give_back();
            }
            stays
        });
    }

    /// The partition is no longer ours.
    pub(crate) fn revoke(&mut self, partition: i32) {
        self.close(partition);
        self.owned.remove(&partition);
    }

    /// Whether a record of this partition is to be looked at.
    pub(crate) fn takes_in(&self, partition: i32) -> bool {
        self.owned
            .get(&partition)
            .is_some_and(|assignment| matches!(assignment.intake, Intake::Flowing | Intake::Paused))
    }

    /// Queues a record that was read. False if it was read before.
    pub(crate) fn take_in(&mut self, partition: i32, offset: i64, key: Option<&[u8]>, event: E) -> bool {
        let Some(assignment) = self.owned.get_mut(&partition) else { return false };
        if !assignment.tracker.started(offset) {
            return false;
        }
        assignment.next_read = Some(offset + 1);
        assignment.queues.push(key, offset, Arc::new(event));
        true
    }

    /// Takes nothing in from this partition any more. What was taken in finishes and is committed.
    pub(crate) fn stop(&mut self, partition: i32) {
        if let Some(assignment) = self.owned.get_mut(&partition)
            && assignment.intake != Intake::Closed
        {
            assignment.intake = Intake::Stopped;
        }
    }

    /// The next call to start, if there is one and there is room: first what waited for its retry.
    pub(crate) fn start_next(&mut self, now: Instant) -> Option<Call<E>> {
        self.start_retry(now).or_else(|| self.start_queued())
    }

    fn start_retry(&mut self, now: Instant) -> Option<Call<E>> {
        while let Some(earliest) = self.retries.first_entry() {
            if earliest.key().0 > now {
                return None;
            }
            let WaitingRetry { epoch, partition, offset } = earliest.remove();
            let assignment = self.owned.get_mut(&partition).filter(|assignment| assignment.epoch == epoch);
            if let Some(assignment) = assignment
                && let Some(attempts) = assignment.attempts.get(&offset)
            {
                let event = Arc::clone(&attempts.event);
                assignment.on_the_wire += 1;
                return Some(Call { assignment: epoch, partition, offset, event });
            }
        }
        None
    }

    fn start_queued(&mut self) -> Option<Call<E>> {
        if !self.budget.has_room() {
            return None;
        }
        let after = self.last_served.saturating_add(1);
        let in_turn: Vec<i32> = self
            .owned
            .range(after..)
            .chain(self.owned.range(..after))
            .map(|(partition, _)| *partition)
            .collect();
        in_turn.into_iter().find_map(|partition| self.start_queued_of(partition))
    }

    fn start_queued_of(&mut self, partition: i32) -> Option<Call<E>> {
        let assignment = self.owned.get_mut(&partition)?;
        let (offset, event) = assignment.queues.start_next()?;
        assignment.attempts.insert(offset, Attempts { event: Arc::clone(&event), failures: 0 });
        assignment.on_the_wire += 1;
        self.budget.take();
        self.last_served = partition;
        Some(Call { assignment: assignment.epoch, partition, offset, event })
    }

    /// Takes note of what became of a call.
    pub(crate) fn reported(&mut self, report: Report, now: Instant) -> Reported<E> {
        let Report { assignment: epoch, partition, offset, outcome } = report;
        let assignment = self.owned.get_mut(&partition).filter(|assignment| assignment.epoch == epoch);
        let Some(assignment) = assignment else {
            self.budget.give_back();
            self.late_reports += 1;
            return Reported::Late;
        };
        assignment.on_the_wire = assignment.on_the_wire.saturating_sub(1);
        let cause = match outcome {
            Ok(()) => {
                assignment.attempts.remove(&offset);
                assignment.tracker.finished(offset);
                assignment.queues.finished(offset);
                self.budget.give_back();
                return Reported::Delivered;
            }
            Err(cause) => cause,
        };
        let attempts = assignment.attempts.get_mut(&offset);
        match attempts {
            Some(attempts) if assignment.intake != Intake::Closed => {
                attempts.failures = attempts.failures.saturating_add(1);
                let failures = attempts.failures;
                let again_at = now + self.rules.retry.wait(failures, partition, offset);
                self.retries_so_far += 1;
                let waiting = WaitingRetry { epoch, partition, offset };
                self.retries.insert((again_at, self.retries_so_far), waiting);
                Reported::Failed { event: Arc::clone(&attempts.event), failures, again_at, cause }
            }
            _ => {
                self.budget.give_back();
                Reported::LeftToTheNextOwner
            }
        }
    }

    /// When the next retry is due.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retries.first_key_value().map(|((at, _), _)| *at)
    }

    /// Pauses at the whole window and resumes at half of it: each pause makes the client read again what it
    /// had fetched, so they must be rare.
    pub(crate) fn intake_changes(&mut self) -> IntakeChanges {
        let window = self.rules.window;
        let mut changes = IntakeChanges::default();
        for (partition, assignment) in &mut self.owned {
            let span = assignment.tracker.span();
            if assignment.intake == Intake::Flowing && span >= window {
                assignment.intake = Intake::Paused;
                changes.pause.push(*partition);
            } else if assignment.intake == Intake::Paused && span <= window / 2 {
                assignment.intake = Intake::Flowing;
                changes.resume.push(*partition);
            }
        }
        changes
    }

    /// Whether calls of one of these partitions are on the wire.
    pub(crate) fn has_calls_on_the_wire(&self, partitions: &[i32]) -> bool {
        partitions
            .iter()
            .filter_map(|partition| self.owned.get(partition))
            .any(|assignment| assignment.on_the_wire > 0)
    }

    /// What may be committed for these partitions, whether it was before or not.
    pub(crate) fn committable(&self, partitions: &[i32]) -> Vec<(i32, NextOffset)> {
        let positions = partitions.iter().filter_map(|partition| {
            let committable = self.owned.get(partition)?.tracker.committable()?;
            Some((*partition, committable))
        });
        positions.collect()
    }

    /// What may be committed and was not sent yet. From now on it was.
    pub(crate) fn take_commits(&mut self) -> Vec<(i32, NextOffset)> {
        let mut commits = Vec::new();
        for (partition, assignment) in &mut self.owned {
            let committable = assignment.tracker.committable();
            if let Some(position) = committable
                && assignment.commit_sent != committable
            {
                assignment.commit_sent = committable;
                commits.push((*partition, position));
            }
        }
        commits
    }

    /// A commit of this partition failed: it is to be sent again.
    pub(crate) fn forget_commit(&mut self, partition: i32) {
        if let Some(assignment) = self.owned.get_mut(&partition) {
            assignment.commit_sent = None;
        }
    }

    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.owned.keys().copied().collect()
    }

    /// Where the client reads on: after what was read, or where the assignment started.
    pub(crate) fn reads_on_from(&self, partition: i32) -> Option<StartPosition> {
        let assignment = self.owned.get(&partition)?;
        // A stopped partition reads nothing, so its position cannot get lost again.
        let is_read = matches!(assignment.intake, Intake::Flowing | Intake::Paused);
        is_read.then(|| assignment.next_read.map_or(assignment.start, StartPosition::At))
    }

    /// How many reports came after the end of their assignment.
    pub(crate) fn late_reports(&self) -> u64 {
        self.late_reports
    }
}

#[cfg(test)]
#[path = "assignments_tests.rs"]
mod tests;
