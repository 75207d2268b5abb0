//! What follows from the end of a call: the record is finished, tried again, or at fault.

use std::time::Instant;

use shared_messages::dead_letter::DeadLetterCause;

use super::{Assignments, Reported};
use crate::consumer_group::assignment::{Intake, Work};
use crate::consumer_group::retries::WaitingRetry;
use crate::delivery::blame::Attempts;
use crate::delivery::breaker::BreakerState;
use crate::delivery::call::{NotDelivered, Report};
use crate::delivery::fault::{Fault, Verdict};
use crate::sink::FailureKind;

impl<R: Clone> Assignments<R> {
    /// Takes note of what became of a call.
    pub(crate) fn reported(&mut self, report: Report, now: Instant) -> Reported {
        let Report { assignment: epoch, partition, offset, outcome } = report;
        self.calls_on_the_wire = self.calls_on_the_wire.saturating_sub(1);
        self.ended += 1;
        let assignment = self.owned.get_mut(&partition).filter(|assignment| assignment.epoch == epoch);
        let Some(assignment) = assignment else {
            self.late_reports += 1;
            self.calls_left_behind = self.calls_left_behind.saturating_sub(1);
            return Reported::Late;
        };
        assignment.on_the_wire = assignment.on_the_wire.saturating_sub(1);
        assignment.moved();
        let not_delivered = match outcome {
            Ok(()) => {
                let work = assignment.finished(offset, now);
                let failed_before = work.is_some_and(|work| work.attempts().failures() > 0);
                self.taken_so_far += 1;
                self.platform_answered((epoch.0, offset), failed_before, now);
                return Reported::Delivered;
            }
            Err(not_delivered) => not_delivered,
        };
        if assignment.intake == Intake::Closed {
            // Nothing from here on could be committed.
            assignment.queues.keep_below(offset);
            return Reported::LeftToTheNextOwner;
        }
        self.failed(WaitingRetry { epoch, partition, offset }, not_delivered, now)
    }

    fn failed(&mut self, record: WaitingRetry, not_delivered: NotDelivered, now: Instant) -> Reported {
        let WaitingRetry { epoch, partition, offset } = record;
        let id = (epoch.0, offset);
        let kind = match &not_delivered.fault {
            Fault::Undecodable(_) => {
                return self.condemn(record, DeadLetterCause::Undecodable, not_delivered, now);
            }
            Fault::Platform(failure) => failure.kind(),
        };
        // Only a failure by itself can be the record's fault.
        let is_away = self.breaker.state() == BreakerState::Open;
        let may_be_its_fault = kind == FailureKind::Unavailable && !is_away;
        let Some((attempts, failed_before)) = self.note_failure(record, may_be_its_fault, now) else {
            return Reported::LeftToTheNextOwner;
        };
        let mut wait = self.rules.retry.wait(attempts.failures(), partition, offset);
        match kind {
            FailureKind::Rejected => {
                self.platform_answered(id, failed_before, now);
                return self.condemn(record, DeadLetterCause::Rejected, not_delivered, now);
            }
            FailureKind::Unfit => return self.condemn(record, DeadLetterCause::Rejected, not_delivered, now),
            FailureKind::Unavailable if attempts.show_a_fault(&self.rules.blame, now) => {
                return self.condemn(record, DeadLetterCause::Failing, not_delivered, now);
            }
            FailureKind::Unavailable if attempts.last_was_beside_others() => {
                self.breaker.failed_beside_others(id, self.calls_of_owned(), now);
            }
            FailureKind::Unavailable | FailureKind::Misconfigured => {
                self.breaker.failed(id, failed_before, self.calls_of_owned(), now);
            }
            FailureKind::Throttled { retry_after } => {
                self.breaker.throttled(retry_after, self.calls_of_owned(), now);
                let asked = retry_after.unwrap_or_default().min(self.rules.breaker.longest_retry_after);
                wait = wait.max(asked);
            }
        }
        let again_at = now + wait;
        self.retries.add(again_at, record);
        Reported::Failed { failures: attempts.failures(), again_at, not_delivered }
    }

    fn note_failure(
        &mut self,
        record: WaitingRetry,
        may_be_its_fault: bool,
        now: Instant,
    ) -> Option<(Attempts, bool)> {
        let work = self.owned.get_mut(&record.partition)?.tracker.get_mut(record.offset)?;
        let attempts = work.attempts_mut();
        let failed_before = attempts.failures() > 0;
        attempts.failed(self.taken_so_far, may_be_its_fault, now);
        Some((*attempts, failed_before))
    }

    fn condemn(
        &mut self,
        record: WaitingRetry,
        kind: DeadLetterCause,
        not_delivered: NotDelivered,
        now: Instant,
    ) -> Reported {
        let Some(assignment) = self.owned.get_mut(&record.partition) else {
            return Reported::LeftToTheNextOwner;
        };
        let attempts = assignment.tracker.get(record.offset).map(Work::attempts);
        let attempts = attempts.unwrap_or_default();
        let failing_since = attempts.first_failure().unwrap_or(now);
        let cause = not_delivered.fault.to_string();
        let verdict = Verdict { kind, cause, calls: attempts.failures(), failing_since };
        assignment.condemn(record.offset, verdict, now);
        self.parking_from = Some(now);
        Reported::AtFault { cause: kind, not_delivered }
    }

    /// With a record taken, or with one refused: it is not away.
    fn platform_answered(&mut self, record: (u64, i64), failed_before: bool, now: Instant) {
        if self.breaker.took(record, failed_before) {
            self.retries.bring_forward(now);
        }
    }
}
