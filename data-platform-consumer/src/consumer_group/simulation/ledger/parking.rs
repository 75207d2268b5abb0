//! What becomes a dead letter. A record that was rejected or cannot be understood, and one that failed while the breaker
//! was closed, as often and as long as the rules say beside others that were taken.
//!
//! And how many. An assignment looks at the topic first. Then, with those that it saw and that no word of an operator
//! stands behind, it lets no more records through within the window than the ceiling says. What an earlier assignment had
//! on the wire when it ended without being drained, or what was written without an answer, can come on top: at most what
//! was let through there. Where the ceiling was reached nothing more is let through, over assignments too once the mark
//! was committed, until an operator's word stands at the mark or beyond.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use shared_messages::dead_letter::DeadLetterCause;

use super::{Ledger, Position, Tenure, TenureId};
use crate::delivery::Fault;
use crate::delivery::breaker::BreakerState;
use crate::delivery::ceiling::{CeilingRules, RecentDeadLetters};
use crate::sink::FailureKind;

#[derive(Debug)]
pub(super) struct ParkingSoFar {
    at_fault: BTreeSet<i64>,
    let_through: BTreeSet<i64>,
    on_the_wire: BTreeSet<i64>,
    /// Those that could not be written, and when they are tried again.
    again_at: BTreeMap<i64, Instant>,
    /// When those were parked that count now. None before the topic was asked.
    counted: Option<Vec<Instant>>,
    is_asking: bool,
    end: i64,
    reached_at: Option<i64>,
    was_ever_reached: bool,
}

impl ParkingSoFar {
    pub(super) fn new(reached_at: Option<i64>) -> Self {
        Self {
            at_fault: BTreeSet::new(),
            let_through: BTreeSet::new(),
            on_the_wire: BTreeSet::new(),
            again_at: BTreeMap::new(),
            counted: None,
            is_asking: false,
            end: 0,
            reached_at,
            was_ever_reached: reached_at.is_some(),
        }
    }

    pub(super) fn reached_at(&self) -> Option<i64> {
        self.reached_at
    }

    pub(super) fn was_ever_reached(&self) -> bool {
        self.was_ever_reached
    }

    fn count(&self, rules: &CeilingRules, now: Instant) -> usize {
        let counted = self.counted.iter().flatten();
        counted.filter(|at| now.saturating_duration_since(**at) < rules.window).count()
    }
}

impl Ledger {
    pub(super) fn at_fault(
        &mut self,
        tenure: TenureId,
        position: Position,
        cause: DeadLetterCause,
        fault: &Fault,
        state: BreakerState,
        now: Instant,
    ) {
        let rules = self.rules.blame;
        match (cause, fault) {
            (DeadLetterCause::Undecodable, Fault::Undecodable(_)) => {}
            (DeadLetterCause::Rejected, Fault::Platform(failure)) => {
                assert_eq!(failure.kind(), FailureKind::Rejected);
            }
            (DeadLetterCause::Failing, Fault::Platform(failure)) => {
                assert_eq!(failure.kind(), FailureKind::Unavailable);
                assert_ne!(state, BreakerState::Open, "{position:?} is given up while the platform is away");
                let beside_others = &self.fails(tenure, position, now).beside_others;
                let times = u32::try_from(beside_others.len()).unwrap();
                assert!(times >= rules.failures, "{position:?} failed {times} times beside others");
                assert!(now - beside_others[0] >= rules.time, "{position:?} was given up early");
                assert_eq!(
                    beside_others.last(),
                    Some(&now),
                    "{position:?} was given up for a failure that says nothing"
                );
            }
            (DeadLetterCause::Undecodable | DeadLetterCause::Rejected | DeadLetterCause::Failing, _) => {
                panic!("{fault:?} of {position:?} is said to be {cause:?}")
            }
        }
        assert!(!self.tenures[tenure].is_closed, "{position:?} is at fault while it is handed back");
        self.tenures[tenure].parking.at_fault.insert(position.offset);
        self.ever_at_fault.insert(position);
    }

    pub(in super::super) fn asks(&mut self, tenure: TenureId, ceiling_reached_at: Option<i64>) {
        let Tenure { parking, is_closed, .. } = &mut self.tenures[tenure];
        assert!(!*is_closed, "the dead letters are asked for a partition that is handed back");
        assert!(!parking.is_asking, "the dead letters are asked twice at a time");
        assert_eq!(
            ceiling_reached_at, parking.reached_at,
            "the look-up starts where the ceiling was reached"
        );
        parking.is_asking = true;
    }

    /// True if an operator lets parking go on.
    pub(in super::super) fn sees(
        &mut self,
        tenure: TenureId,
        seen: Option<&RecentDeadLetters>,
        now: Instant,
    ) -> bool {
        let parking = &mut self.tenures[tenure].parking;
        parking.is_asking = false;
        let Some(seen) = seen else { return false };
        parking.end = parking.end.max(seen.end);
        let was_reached = parking.reached_at.is_some();
        if parking.reached_at.is_some_and(|reached_at| seen.resumed_at.is_none_or(|word| word < reached_at)) {
            return false;
        }
        parking.reached_at = None;
        parking.counted = Some(seen.ages.iter().map(|age| now.checked_sub(*age).unwrap()).collect());
        was_reached
    }

    pub(in super::super) fn parks(
        &mut self,
        tenure: TenureId,
        position: Position,
        record: Position,
        now: Instant,
    ) {
        let (rules, offset) = (self.rules.ceiling, position.offset);
        let Tenure { parking, is_closed, .. } = &mut self.tenures[tenure];
        assert_eq!(record, position, "another record becomes the dead letter");
        assert!(!*is_closed, "a dead letter leaves while its partition is handed back");
        assert!(parking.at_fault.contains(&offset), "{position:?} becomes a dead letter without a fault");
        assert!(parking.on_the_wire.insert(offset), "{position:?} is parked twice at a time");
        if parking.let_through.contains(&offset) {
            let again_at = parking.again_at.remove(&offset);
            assert!(again_at.is_some_and(|at| at <= now), "{position:?} is parked again before its time");
            return;
        }
        assert_eq!(parking.reached_at, None, "{position:?} becomes a dead letter beyond the ceiling");
        let count = parking.count(&rules, now);
        assert!(count < rules.count, "{position:?} becomes one dead letter too many");
        let Some(counted) = &mut parking.counted else { panic!("{position:?} is parked and nobody looked") };
        counted.push(now);
        parking.let_through.insert(offset);
    }

    pub(in super::super) fn reaches_the_ceiling(&mut self, tenure: TenureId, now: Instant) {
        let rules = self.rules.ceiling;
        let parking = &mut self.tenures[tenure].parking;
        assert_eq!(parking.reached_at, None, "the ceiling is reached twice");
        let count = parking.count(&rules, now);
        assert!(count >= rules.count, "the ceiling is reached with {count} dead letters");
        parking.reached_at = Some(parking.end);
        parking.was_ever_reached = true;
    }

    /// What was let through and could not be written is tried again in time, whatever else waits for the ceiling.
    pub(in super::super) fn nothing_let_through_is_late(&self, tenure: TenureId, now: Instant) {
        let Tenure { parking, is_closed, partition, .. } = &self.tenures[tenure];
        let late = parking.again_at.iter().find(|(_, at)| **at <= now);
        assert!(late.is_none() || *is_closed, "partition {partition}: a dead letter is late, {late:?}");
    }

    /// A dead letter of the present assignment was acknowledged, or not.
    pub(in super::super) fn parked(
        &mut self,
        tenure: TenureId,
        position: Position,
        outcome: &Result<i64, String>,
        again_at: Option<Instant>,
    ) {
        let parking = &mut self.tenures[tenure].parking;
        assert!(parking.on_the_wire.remove(&position.offset));
        parking.again_at.extend(again_at.map(|at| (position.offset, at)));
        if let Ok(written) = outcome {
            parking.end = parking.end.max(written + 1);
            parking.at_fault.remove(&position.offset);
            self.finish(tenure, position);
        }
    }

    pub(in super::super) fn has_dead_letters_on_the_wire(&self, tenure: TenureId) -> bool {
        !self.tenures[tenure].parking.on_the_wire.is_empty()
    }
}
