//! The pace of a member's calls: while its breaker is open one at a time, each after a hold that grows exactly with the
//! questions that failed; and none for as long as the platform has asked for. A question whose assignment ended
//! meanwhile, or whose record was nobody's business (undecodable, handed back), has no answer, and another one may follow
//! at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Ledger, Position, Tenure, TenureId};
use crate::consumer_group::assignments::{Assignments, DeliveryRules, Reported};
use crate::consumer_group::simulation::world::MemberId;
use crate::delivery::Fault;
use crate::delivery::breaker::BreakerState;
use crate::sink::FailureKind;

/// What a member was told of the platform, and for how long it must leave it alone.
#[derive(Debug, Default)]
pub(super) struct Pace {
    held_until: Option<Instant>,
    failed_questions: u32,
    asked_for_patience_until: Option<Instant>,
    /// How many records the platform took, by this member's reports.
    pub(super) taken: u64,
    pub(super) failures: BTreeMap<(TenureId, i64), Failures>,
}

/// The failures of one record in one assignment.
#[derive(Debug, Default)]
pub(super) struct Failures {
    so_far: u32,
    taken_then: u64,
    /// When it failed although others had been taken since it failed before.
    pub(super) beside_others: Vec<Instant>,
}

impl Pace {
    pub(super) fn call_starts(&self, on_the_wire: usize, state: BreakerState, now: Instant) {
        assert!(
            self.asked_for_patience_until.is_none_or(|until| until <= now),
            "the platform asked for patience"
        );
        if state == BreakerState::Open {
            assert_eq!(on_the_wire, 0, "a question beside another call during an outage");
            assert!(self.held_until.is_none_or(|until| until <= now), "a question before its time");
        }
    }

    pub(super) fn answered(
        &mut self,
        rules: &DeliveryRules,
        reported: &Reported,
        outcome: &Result<(), Fault>,
        (before, after): (BreakerState, BreakerState),
        left: usize,
        now: Instant,
    ) {
        self.taken += u64::from(outcome.is_ok());
        if after != BreakerState::Open {
            (self.held_until, self.failed_questions) = (None, 0);
        }
        if !matches!(reported, Reported::Failed { .. }) {
            return;
        }
        if let Some(FailureKind::Throttled { retry_after }) = kind(outcome) {
            let wait = retry_after.unwrap_or(rules.breaker.first_wait).min(rules.breaker.longest_retry_after);
            self.asked_for_patience_until = self.asked_for_patience_until.max(Some(now + wait));
            return;
        }
        // Nothing else can have started before the time was over.
        let was_a_question = left == 0 && self.leaves_it_alone_until(now) <= now;
        if after == BreakerState::Open && (before != BreakerState::Open || was_a_question) {
            self.failed_questions += 1;
            let doubled = rules.breaker.first_wait * (1 << (self.failed_questions - 1).min(20));
            self.held_until = Some(now + doubled.min(rules.breaker.longest_wait));
        }
    }

    fn leaves_it_alone_until(&self, now: Instant) -> Instant {
        self.held_until.max(self.asked_for_patience_until).map_or(now, |until| until.max(now))
    }
}

fn kind(outcome: &Result<(), Fault>) -> Option<FailureKind> {
    match outcome {
        Err(Fault::Platform(failure)) => Some(failure.kind()),
        Ok(()) | Err(Fault::Undecodable(_)) => None,
    }
}

impl Ledger {
    pub(super) fn must_wait(
        &mut self,
        tenure: TenureId,
        position: Position,
        fault: &Fault,
        again_at: Instant,
        now: Instant,
    ) {
        let asked = match fault {
            Fault::Platform(failure) => match failure.kind() {
                FailureKind::Throttled { retry_after } => retry_after.unwrap_or_default(),
                FailureKind::Unavailable | FailureKind::Misconfigured => Duration::ZERO,
                FailureKind::Rejected | FailureKind::Unfit => {
                    panic!("{position:?} was rejected and is tried again")
                }
            },
            Fault::Undecodable(_) => panic!("{position:?} cannot be understood and is tried again"),
        };
        let (retry, patience) = (self.rules.retry, self.rules.breaker.longest_retry_after);
        let waits = now + retry.first_wait / 2..=now + retry.longest_wait.max(asked.min(patience));
        assert!(waits.contains(&again_at), "{position:?} waits for {:?}", again_at - now);
        self.fails(tenure, position, now);
        self.tenures[tenure].waits_for_retry.insert(position.offset);
    }

    pub(super) fn fails(&mut self, tenure: TenureId, position: Position, now: Instant) -> &Failures {
        let pace = self.members.entry(self.tenures[tenure].member).or_default();
        let failures = pace.failures.entry((tenure, position.offset)).or_default();
        if failures.so_far > 0 && pace.taken > failures.taken_then {
            failures.beside_others.push(now);
        }
        failures.so_far += 1;
        failures.taken_then = pace.taken;
        failures
    }

    /// Once nothing is on the wire, the next question of an outage is due when its hold ends, and what waits for a retry
    /// is due at once when the outage has ended.
    pub(super) fn nothing_waits_for_the_end_of_an_outage(
        &self,
        assignments: &Assignments<Position>,
        member: MemberId,
        before: BreakerState,
        now: Instant,
    ) {
        let after = assignments.breaker_state();
        let tenures = assignments.partitions().into_iter();
        let waits = tenures
            .filter_map(|partition| {
                let of_this = |tenure: &&Tenure| tenure.member == member && tenure.partition == partition;
                self.tenures.iter().rfind(of_this)
            })
            .any(|tenure| !tenure.waits_for_retry.is_empty());
        let applies = after == BreakerState::Open || before == BreakerState::Open;
        if !applies || !waits || self.calls_of_owned(member) > 0 {
            return;
        }
        let expected = self.members[&member].leaves_it_alone_until(now);
        let due = assignments.next_due(now).map(|due| due.max(now));
        assert!(
            due.is_some_and(|due| due <= expected),
            "{after:?}: due in {:?}, not in {:?}",
            due.map(|due| due - now),
            expected - now
        );
    }
}
