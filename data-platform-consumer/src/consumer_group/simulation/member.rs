//! # Member
//!
//! What the thread of a member does with its assignments, in the order in which the real one does it (`poll_loop`,
//! `group`, `parking`): takes note of a signal, starts what there is room for, parks what is at fault, steers the intake.
//! While it waits for calls to end it does not poll, steer or commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::ledger::{CallId, Ledger, OnTheWire, TenureId};
use super::topic::{Position, Reading};
use super::world::{Event, MemberId, World};
use crate::consumer_group::assignment::Commit;
use crate::consumer_group::assignments::{
    AssignmentEpoch, Assignments, DeliveryRules, Parked, Parking, ParkingStep,
};
use crate::delivery::call::{NotDelivered, Report};
use crate::delivery::ceiling::RecentDeadLetters;
use crate::delivery::dead_letters::ParkingReport;

/// Partitions whose calls are waited for.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) number: u64,
    pub(super) partitions: Vec<i32>,
    pub(super) then_leaves: bool,
    pub(super) deadline: Instant,
}

pub(super) struct Member {
    pub(super) assignments: Assignments<Position>,
    pub(super) readings: BTreeMap<i32, Reading>,
    pub(super) tenures: BTreeMap<i32, TenureId>,
    /// What its client was told to pause, as the thread of a member keeps it.
    pub(super) paused: BTreeSet<i32>,
    pub(super) is_running: bool,
    pub(super) draining: Option<Drain>,
    pub(super) commit_interval: Duration,
    commit_is_under_way: bool,
    will_read: bool,
    /// What was announced last, and when.
    due: Option<Instant>,
    announcements: u64,
    dead_letters_on_the_wire: usize,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tenures, is_running, draining, due, .. } = self;
        write!(f, "Member {{ {tenures:?}, running: {is_running}, {draining:?}, due: {due:?} }}")
    }
}

impl Member {
    pub(super) fn new(rules: DeliveryRules, commit_interval: Duration) -> Self {
        Self {
            assignments: Assignments::new(rules),
            readings: BTreeMap::new(),
            tenures: BTreeMap::new(),
            paused: BTreeSet::new(),
            is_running: true,
            draining: None,
            commit_interval,
            commit_is_under_way: false,
            will_read: false,
            due: None,
            announcements: 0,
            dead_letters_on_the_wire: 0,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.draining.as_ref().is_some_and(|draining| draining.then_leaves)
    }

    /// Nothing is under way, it knows what it has lost, and nothing will wake it.
    pub(super) fn is_at_rest(&self, ledger: &Ledger, now: Instant) -> bool {
        let is_under_way =
            self.commit_is_under_way || self.dead_letters_on_the_wire > 0 || self.draining.is_some();
        let has_lost = self.tenures.values().any(|tenure| ledger.tenures[*tenure].is_over);
        let will_wake = self.assignments.next_due(now).is_some();
        !self.is_running || !(is_under_way || has_lost || will_wake)
    }
}

impl World {
    /// Before a signal is taken note of there is nothing to do, unless it was announced.
    pub(super) fn look(&mut self, member: MemberId) {
        let was_announced = self.members[member].due.is_some_and(|due| due <= self.now);
        let steps = self.starts_what_it_can(member);
        assert!(steps == 0 || was_announced, "something was to do, and nobody knew");
    }

    /// After a signal.
    pub(super) fn turn(&mut self, member: MemberId) {
        self.starts_what_it_can(member);
        if let Some(drain) = &self.members[member].draining {
            let still = self.members[member].assignments.are_draining(&drain.partitions, drain.deadline);
            let may_start = self.members[member].assignments.may_start_by(drain.deadline);
            let tenures = drain.partitions.iter().map(|partition| self.members[member].tenures[partition]);
            let really = tenures.clone().any(|tenure| {
                self.ledger.has_calls_on_the_wire(tenure) || self.ledger.has_dead_letters_on_the_wire(tenure)
            });
            assert!(still || !really, "something of a partition that is handed back is on the wire");
            if !still {
                if may_start {
                    tenures.for_each(|tenure| self.ledger.drained(tenure));
                }
                self.drain_ends(member);
            }
        }
        if self.members[member].draining.is_none() {
            self.steers(member);
        }
        self.announces(member);
    }

    fn announces(&mut self, member: MemberId) {
        let of_this = &mut self.members[member];
        of_this.due = of_this.assignments.next_due(self.now).filter(|_| of_this.is_running);
        of_this.announcements += 1;
        let announcement = of_this.announcements;
        if let Some(due) = of_this.due {
            assert!(due > self.now, "it would turn and turn with nothing to do");
            self.after(due - self.now, Event::Due { member, announcement });
        }
    }

    pub(super) fn is_due(&mut self, member: MemberId, announcement: u64) {
        if self.members[member].is_running && self.members[member].announcements == announcement {
            self.turn(member);
        }
    }

    fn starts_what_it_can(&mut self, member: MemberId) -> usize {
        let mut steps = 0;
        loop {
            let of_this = &mut self.members[member];
            let state = of_this.assignments.breaker_state();
            let Some(call) = of_this.assignments.start_next(self.now) else { break };
            let tenure = of_this.tenures[&call.partition];
            let call = self.ledger.call_starts(&self.topic, tenure, call, state, self.now);
            let takes = self.platform.time_of_call(&mut self.chance);
            self.after(takes, Event::CallEnds(call));
            steps += 1;
        }
        while let Some(step) = self.members[member].assignments.next_parking_step(self.now) {
            self.parking_step(member, &step);
            steps += 1;
        }
        for tenure in self.members[member].tenures.values() {
            self.ledger.nothing_let_through_is_late(*tenure, self.now);
        }
        steps
    }

    fn parking_step(&mut self, member: MemberId, step: &ParkingStep<Position>) {
        match *step {
            ParkingStep::Ask { assignment: epoch, partition, ceiling_reached_at } => {
                let tenure = self.members[member].tenures[&partition];
                self.ledger.asks(tenure, ceiling_reached_at);
                let travel = self.dead_letters.time_of_travel(&mut self.chance);
                self.after(travel, Event::EndIsRead { member, tenure, epoch });
            }
            ParkingStep::Park(Parking { assignment: epoch, partition, offset, record, .. }) => {
                let (tenure, position) =
                    (self.members[member].tenures[&partition], Position { partition, offset });
                self.ledger.parks(tenure, position, record, self.now);
                self.members[member].dead_letters_on_the_wire += 1;
                let travel = self.dead_letters.time_of_travel(&mut self.chance);
                self.after(travel, Event::DeadLetterArrives { member, tenure, epoch, position });
            }
            ParkingStep::CeilingReached { partition } => {
                self.ledger.reaches_the_ceiling(self.members[member].tenures[&partition], self.now);
                self.operator_is_called(partition);
            }
        }
    }

    pub(super) fn operator_is_called(&mut self, partition: i32) {
        let longest = if self.is_faultless { 3_000 } else { 30_000 };
        let comes = self.chance.millis(100..longest);
        self.after(comes, Event::OperatorResumesParking { partition });
    }

    fn steers(&mut self, member: MemberId) {
        let of_this = &mut self.members[member];
        let changes = of_this.assignments.intake_changes();
        for partition in &changes.pause {
            of_this.readings.get_mut(partition).unwrap().pause(&mut self.chance);
            of_this.paused.insert(*partition);
        }
        for partition in &changes.resume {
            of_this.readings.get_mut(partition).unwrap().resume();
            of_this.paused.remove(partition);
        }
        if !changes.resume.is_empty() {
            self.will_read(member);
        }
    }

    pub(super) fn will_read(&mut self, member: MemberId) {
        let of_this = &mut self.members[member];
        let mut readings = of_this.readings.iter();
        let has_more = readings.any(|(partition, reading)| reading.has_more(&self.topic, *partition));
        if of_this.is_running && has_more && !of_this.will_read {
            of_this.will_read = true;
            let fetches = self.chance.millis(1..80);
            self.after(fetches, Event::Readable { member });
        }
    }

    pub(super) fn reads(&mut self, member: MemberId) {
        self.members[member].will_read = false;
        if !self.members[member].is_running {
            return;
        }
        if self.members[member].draining.is_none() {
            self.look(member);
            let most = self.chance.count(1..12);
            let of_this = &mut self.members[member];
            for (partition, reading) in &mut of_this.readings {
                reading.fetch(&self.topic, *partition, most);
                for _ in 0..self.chance.count(1..12) {
                    let Some(offset) = reading.poll() else { break };
                    if of_this.assignments.takes_in(*partition) {
                        let record = Position { partition: *partition, offset };
                        let key = self.topic.record(record).key.map(|key| [key]);
                        let key = key.as_ref().map(<[u8; 1]>::as_slice);
                        let bytes = 1 + usize::try_from(offset % 3).unwrap();
                        let is_new = of_this.assignments.take_in(*partition, offset, key, (record, bytes));
                        self.ledger.read(of_this.tenures[partition], offset, is_new);
                    }
                }
            }
            self.turn(member);
        }
        self.will_read(member);
    }

    pub(super) fn call_ends(&mut self, call: CallId) {
        let (member, position) = self.ledger.call(call);
        if self.members[member].is_running {
            self.look(member);
        }
        let OnTheWire { tenure, call, .. } = self.ledger.call_ends(call);
        let nature = self.topic.record(position).nature;
        let answer = self.platform.answer(nature, &mut self.chance);
        if answer.took {
            self.ledger.platform_took(&self.topic, position);
        }
        let of_this = &mut self.members[member];
        if !of_this.is_running {
            return;
        }
        let outcome = answer.outcome.map_err(|fault| NotDelivered { fault, event: None });
        let report =
            Report { assignment: call.assignment, partition: call.partition, offset: call.offset, outcome };
        let is_current = of_this.tenures.get(&call.partition) == Some(&tenure);
        self.ledger.report(&mut of_this.assignments, tenure, is_current, report, self.now);
        self.turn(member);
    }

    pub(super) fn dead_letter_arrives(
        &mut self,
        member: MemberId,
        tenure: TenureId,
        epoch: AssignmentEpoch,
        position: Position,
    ) {
        let outcome = self.dead_letters.write(position, self.now);
        let Position { partition, offset } = position;
        let report = ParkingReport { assignment: epoch, partition, offset, outcome };
        let travel = self.dead_letters.time_of_travel(&mut self.chance);
        self.after(travel, Event::DeadLetterAnswered { member, tenure, report });
    }

    pub(super) fn dead_letter_answered(&mut self, member: MemberId, tenure: TenureId, report: ParkingReport) {
        if !self.members[member].is_running {
            return;
        }
        self.look(member);
        let position = Position { partition: report.partition, offset: report.offset };
        let outcome = report.outcome.clone();
        let of_this = &mut self.members[member];
        of_this.dead_letters_on_the_wire -= 1;
        let is_current = of_this.tenures.get(&report.partition) == Some(&tenure);
        let parked = of_this.assignments.parked(report, self.now);
        let expected = match &parked {
            Parked::Done => is_current && outcome.is_ok(),
            Parked::Failed { again_at, .. } => is_current && outcome.is_err() && *again_at > self.now,
            Parked::LeftToTheNextOwner => {
                !is_current || (outcome.is_err() && self.ledger.tenures[tenure].is_closed)
            }
        };
        assert!(expected, "{outcome:?} for the dead letter of {position:?} led to {parked:?}");
        if is_current {
            let again_at = if let Parked::Failed { again_at, .. } = parked { Some(again_at) } else { None };
            self.ledger.parked(tenure, position, &outcome, again_at);
        }
        self.turn(member);
    }

    pub(super) fn end_was_read(
        &mut self,
        member: MemberId,
        tenure: TenureId,
        epoch: AssignmentEpoch,
        seen: Option<&RecentDeadLetters>,
    ) {
        if !self.members[member].is_running {
            return;
        }
        self.look(member);
        let partition = self.ledger.tenures[tenure].partition;
        let of_this = &mut self.members[member];
        let is_current = of_this.tenures.get(&partition) == Some(&tenure);
        let goes_on = of_this.assignments.ceiling_seen(epoch, partition, seen, self.now);
        let expected = is_current && self.ledger.sees(tenure, seen, self.now);
        assert_eq!(goes_on.is_some(), is_current, "what is seen is of the present assignment");
        assert_eq!(goes_on == Some(true), expected, "whether an operator lets parking go on");
        self.turn(member);
    }

    pub(super) fn commit_is_due(&mut self, member: MemberId) {
        if !self.members[member].is_running {
            return;
        }
        self.after(self.members[member].commit_interval, Event::CommitIsDue { member });
        if self.members[member].commit_is_under_way || self.members[member].draining.is_some() {
            return;
        }
        let commits = self.members[member].assignments.take_commits();
        if commits.is_empty() {
            return;
        }
        let commits = self.with_their_tenures(member, commits);
        self.members[member].commit_is_under_way = true;
        let travel = self.chance.one_of(&[10, 100, 3_000]);
        let travel = self.chance.millis(1..travel);
        self.after(travel, Event::CommitArrives { member, commits });
    }

    pub(super) fn commit_arrives(&mut self, member: MemberId, commits: Vec<(TenureId, Commit)>) {
        let was_taken = !self.has_bad_luck(10) && self.commit(&commits);
        let is_answered = !self.has_bad_luck(10);
        let travel = self.chance.millis(1..100);
        self.after(travel, Event::CommitAnswered { member, commits, was_taken: was_taken && is_answered });
    }

    pub(super) fn commit_answered(
        &mut self,
        member: MemberId,
        commits: &[(TenureId, Commit)],
        was_taken: bool,
    ) {
        let of_this = &mut self.members[member];
        of_this.commit_is_under_way = false;
        if !was_taken {
            for (_, commit) in commits {
                of_this.assignments.forget_commit(commit.partition);
            }
        }
    }
}
