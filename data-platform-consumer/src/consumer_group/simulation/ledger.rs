//! # Ledger
//!
//! Writes down what happened, apart from the code under test, and holds what must be true against it:
//!
//! 1. A committed position is exactly the end of the unbroken run of records that were read and finished in that
//!    assignment, or where it started; so it never passes a record that nobody has finished. It never goes back.
//! 2. No call starts for a key that has one on the wire, unless one of the two belongs to an assignment that the group
//!    has ended with calls on the wire: by a drain that timed out, a crash, or a loss, of which its member learns later.
//!    So within an assignment nothing overlaps, nor between two of which the first was drained to its end.
//! 3. A call starts only when the record of its key before it is finished; the platform takes each key's records for the
//!    first time in their order.
//! 4. A member has no more calls on the wire than its limit, those of ended assignments counted.
//! 5. See `ledger/pace`: how few calls an outage sees, and that a platform that asks for patience gets it.
//! 6. See `ledger/parking`: what becomes a dead letter, and how many.
//! 7. The world sees to it that nothing is late or idle.
//! 8. The report of an ended assignment changes nothing.

mod pace;
mod parking;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::topic::{Position, Topic};
use super::world::MemberId;
use crate::consumer_group::assignment::Commit;
use crate::consumer_group::assignments::{Assignments, DeliveryRules, Reported};
use crate::consumer_group::offset_tracker::NextOffset;
use crate::delivery::breaker::BreakerState;
use crate::delivery::call::{Call, Report};
use pace::Pace;
use parking::ParkingSoFar;

/// Numbers the tenures.
pub(super) type TenureId = usize;
pub(super) type CallId = u64;

/// One assignment, as it really was.
#[derive(Debug)]
pub(super) struct Tenure {
    pub(super) member: MemberId,
    pub(super) partition: i32,
    start: i64,
    /// The group has ended it, whether its member knows or not.
    pub(super) is_over: bool,
    /// Its member hands it back.
    pub(super) is_closed: bool,
    /// Whether a call has failed, or the platform was away when it was closed.
    has_failed: bool,
    highest_begun: Option<i64>,
    read: BTreeSet<i64>,
    finished: BTreeSet<i64>,
    waits_for_retry: BTreeSet<i64>,
    parking: ParkingSoFar,
}

impl Tenure {
    fn is_finished(&self, offset: i64) -> bool {
        offset < self.start || self.finished.contains(&offset)
    }

    fn end_of_run(&self) -> Option<i64> {
        let run = self.read.iter().take_while(|offset| self.finished.contains(offset));
        run.last().map(|offset| offset + 1)
    }
}

/// A call on its way to the platform.
#[derive(Debug)]
pub(super) struct OnTheWire {
    pub(super) member: MemberId,
    pub(super) tenure: TenureId,
    pub(super) call: Call<Position>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    rules: DeliveryRules,
    pub(super) tenures: Vec<Tenure>,
    /// Those whose member has let go of them: what it has on the wire of them is no part any more of what its breaker allows.
    pub(super) revoked: BTreeSet<TenureId>,
    wire: BTreeMap<CallId, OnTheWire>,
    calls: CallId,
    members: BTreeMap<MemberId, Pace>,
    finished: BTreeSet<Position>,
    taken: BTreeSet<Position>,
    ever_at_fault: BTreeSet<Position>,
    committed: BTreeMap<i32, i64>,
}

impl Ledger {
    pub(super) fn new(rules: DeliveryRules) -> Self {
        Self {
            rules,
            tenures: Vec::new(),
            revoked: BTreeSet::new(),
            wire: BTreeMap::new(),
            calls: 0,
            members: BTreeMap::new(),
            finished: BTreeSet::new(),
            taken: BTreeSet::new(),
            ever_at_fault: BTreeSet::new(),
            committed: BTreeMap::new(),
        }
    }

    pub(super) fn tenure_starts(
        &mut self,
        member: MemberId,
        partition: i32,
        start: i64,
        ceiling_reached_at: Option<i64>,
    ) -> TenureId {
        let of_this = self.tenures.iter().filter(|tenure| tenure.partition == partition);
        assert!(
            of_this.into_iter().all(|tenure| tenure.is_over),
            "the world gave partition {partition} out twice"
        );
        self.tenures.push(Tenure {
            member,
            partition,
            start,
            is_over: false,
            is_closed: false,
            has_failed: false,
            highest_begun: None,
            read: BTreeSet::new(),
            finished: BTreeSet::new(),
            waits_for_retry: BTreeSet::new(),
            parking: ParkingSoFar::new(ceiling_reached_at),
        });
        self.tenures.len() - 1
    }

    pub(super) fn read(&mut self, tenure: TenureId, offset: i64, was_new: bool) {
        let read = &mut self.tenures[tenure].read;
        let is_new = read.last().is_none_or(|last| offset > *last);
        assert_eq!(was_new, is_new, "offset {offset} was taken in {was_new}, after {:?}", read.last());
        read.insert(offset);
    }

    pub(super) fn closed(&mut self, tenure: TenureId, state: BreakerState) {
        let tenure = &mut self.tenures[tenure];
        tenure.is_closed = true;
        tenure.has_failed |= state == BreakerState::Open;
        tenure.waits_for_retry.clear();
    }

    pub(super) fn call_starts(
        &mut self,
        topic: &Topic,
        tenure: TenureId,
        call: Call<Position>,
        state: BreakerState,
        now: Instant,
    ) -> CallId {
        let position = Position { partition: call.partition, offset: call.offset };
        assert_eq!(call.record, position, "a call goes out with another record");
        let (record, of_this) = (topic.record(position), &mut self.tenures[tenure]);
        let member = of_this.member;
        let overtaken = of_this.highest_begun.is_some_and(|highest| call.offset < highest);
        assert!(!of_this.is_closed || overtaken, "something new starts of a partition that is handed back");
        of_this.highest_begun = of_this.highest_begun.max(Some(call.offset));
        assert!(self.tenures[tenure].read.contains(&call.offset), "a call for what was not read");
        assert!(!self.tenures[tenure].is_finished(call.offset), "a call for a finished record");
        for other in self.wire.values() {
            let there = Position { partition: other.call.partition, offset: other.call.offset };
            let same_key = record.key.is_some() && topic.record(there).key == record.key;
            let same = there == position || (there.partition == position.partition && same_key);
            assert!(
                !same || self.tenures[other.tenure].is_over || self.tenures[tenure].is_over,
                "two calls of key {:?} at a time: {there:?} and {position:?}",
                record.key
            );
        }
        if let Some(previous) = record.previous {
            let before = Position { offset: previous, ..position };
            assert!(
                self.tenures[tenure].is_finished(previous),
                "{position:?} starts before {before:?} is finished"
            );
            assert!(
                self.finished.contains(&before),
                "{position:?} starts, and nobody has finished {before:?}"
            );
        }
        self.tenures[tenure].waits_for_retry.remove(&call.offset);
        let on_the_wire = self.wire.values().filter(|on_the_wire| on_the_wire.member == member).count();
        assert!(on_the_wire < self.rules.in_flight_limit, "more calls than the limit");
        let of_owned = self.calls_of_owned(member);
        self.members.entry(member).or_default().call_starts(of_owned, state, now);
        self.calls += 1;
        self.wire.insert(self.calls, OnTheWire { member, tenure, call });
        self.calls
    }

    fn calls_of_owned(&self, member: MemberId) -> usize {
        let of_member = self.wire.values().filter(|on_the_wire| on_the_wire.member == member);
        of_member.filter(|on_the_wire| !self.revoked.contains(&on_the_wire.tenure)).count()
    }

    pub(super) fn call(&self, call: CallId) -> (MemberId, Position) {
        let OnTheWire { member, call, .. } = &self.wire[&call];
        (*member, call.record)
    }

    pub(super) fn call_ends(&mut self, call: CallId) -> OnTheWire {
        self.wire.remove(&call).unwrap()
    }

    pub(super) fn platform_took(&mut self, topic: &Topic, position: Position) {
        if let Some(previous) = topic.record(position).previous {
            let before = Position { offset: previous, ..position };
            let comes_in_order = self.taken.contains(&before) || self.finished.contains(&before);
            assert!(comes_in_order, "the platform got {position:?} before {before:?}");
        }
        self.taken.insert(position);
    }

    /// Has the assignments take note of a report, and judges what they make of it.
    pub(super) fn report(
        &mut self,
        assignments: &mut Assignments<Position>,
        tenure: TenureId,
        is_current: bool,
        report: Report,
        now: Instant,
    ) {
        let position = Position { partition: report.partition, offset: report.offset };
        let member = self.tenures[tenure].member;
        let outcome = report.outcome.clone().map_err(|not_delivered| not_delivered.fault);
        let before = (assignments.breaker_state(), assignments.late_reports());
        let partitions = assignments.partitions();
        let committable = assignments.committable(&partitions);
        let reported = assignments.reported(report, now);
        if !is_current {
            assert_eq!(reported, Reported::Late, "the report of an ended assignment");
            let after = (assignments.breaker_state(), assignments.late_reports());
            assert_eq!((before.0, before.1 + 1), after, "a late report is counted and changes nothing");
            assert_eq!(committable, assignments.committable(&partitions), "a late report moves a position");
            return;
        }
        self.tenures[tenure].has_failed |= outcome.is_err();
        match (&reported, &outcome) {
            (Reported::Delivered, Ok(())) => self.finish(tenure, position),
            (Reported::Failed { again_at, .. }, Err(fault)) => {
                self.must_wait(tenure, position, fault, *again_at, now);
            }
            (Reported::AtFault { cause, .. }, Err(fault)) => {
                self.at_fault(tenure, position, *cause, fault, before.0, now);
            }
            (Reported::LeftToTheNextOwner, Err(_)) => {
                assert!(self.tenures[tenure].is_closed, "{position:?} is left to nobody");
            }
            (
                Reported::Delivered
                | Reported::Failed { .. }
                | Reported::AtFault { .. }
                | Reported::LeftToTheNextOwner
                | Reported::Late,
                _,
            ) => panic!("{outcome:?} of {position:?} led to {reported:?}"),
        }
        let left = self.calls_of_owned(member);
        let pace = self.members.entry(member).or_default();
        pace.answered(&self.rules, &reported, &outcome, (before.0, assignments.breaker_state()), left, now);
        self.nothing_waits_for_the_end_of_an_outage(assignments, member, before.0, now);
    }

    fn finish(&mut self, tenure: TenureId, position: Position) {
        let was_unfinished = self.tenures[tenure].finished.insert(position.offset);
        assert!(was_unfinished, "{position:?} was finished twice");
        self.finished.insert(position);
    }

    /// A position leaves for the group's coordinator.
    pub(super) fn commit(&self, tenure: TenureId, commit: &Commit) {
        let Commit { partition, position: NextOffset(next), ceiling_reached_at } = *commit;
        let tenure = &self.tenures[tenure];
        assert_eq!(partition, tenure.partition);
        assert_eq!(ceiling_reached_at, tenure.parking.reached_at(), "the ceiling's mark");
        if let Some(end) = tenure.end_of_run() {
            assert_eq!(next, end, "the position of partition {partition}");
        } else {
            assert!(tenure.parking.was_ever_reached(), "a commit with nothing to tell");
            // Without a position it is the oldest record, which need not be the first offset.
            let oldest = tenure.read.first().copied().unwrap_or(tenure.start);
            assert!((tenure.start..=oldest).contains(&next), "an unmoved position has moved to {next}");
        }
    }

    /// The coordinator has written a position down.
    pub(super) fn committed(&mut self, topic: &Topic, partition: i32, next: i64) {
        let before = self.committed.insert(partition, next).unwrap_or(0);
        assert!(before <= next, "partition {partition} went back from {before} to {next}");
        assert!(next <= topic.end(partition), "partition {partition} is committed beyond its end");
        for offset in topic.from(partition, before).take_while(|offset| *offset < next) {
            let passed = Position { partition, offset };
            assert!(self.finished.contains(&passed), "{passed:?} is committed and nobody has finished it");
        }
    }

    pub(super) fn has_calls_on_the_wire(&self, tenure: TenureId) -> bool {
        self.wire.values().any(|on_the_wire| on_the_wire.tenure == tenure)
    }

    /// A partition was drained to its end.
    pub(super) fn drained(&self, tenure: TenureId) {
        let tenure = &self.tenures[tenure];
        assert!(
            tenure.has_failed || tenure.end_of_run() >= tenure.highest_begun.map(|begun| begun + 1),
            "what was begun of partition {} is repeated, though nothing has failed: {:?} of {:?}",
            tenure.partition,
            tenure.end_of_run(),
            tenure.highest_begun
        );
    }

    pub(super) fn nothing_is_on_the_wire(&self) -> bool {
        self.wire.is_empty()
    }

    /// How many records were given up so far.
    pub(super) fn at_fault_so_far(&self) -> usize {
        self.ever_at_fault.len()
    }

    pub(super) fn was_taken(&self, position: Position) -> bool {
        self.taken.contains(&position)
    }
}
