//! # Coordinator
//!
//! Who owns which partition, and what is committed. Partitions move when members come, go, freeze and crash, or for no
//! reason at all. Handed back in good order, what is on the wire has a bounded time to end, and what finished is committed.
//! A member that lost its partitions learns of it later, and works on until then; commits of an assignment that is over are
//! refused, as by the group's generation. Of a member that crashed nothing is left but its calls.

use std::collections::BTreeMap;

use super::ledger::TenureId;
use super::member::{Drain, Member};
use super::topic::Reading;
use super::world::{Event, MemberId, World};
use crate::consumer_group::assignment::Commit;
use crate::consumer_group::offset_tracker::NextOffset;
use crate::consumer_group::positions::StartPosition;

/// One partition, as the group sees it.
#[derive(Debug, Default)]
struct Place {
    committed: Option<(i64, Option<i64>)>,
    owner: Option<TenureId>,
    /// Who is to own it.
    wanted_by: MemberId,
    is_being_taken: bool,
}

#[derive(Debug)]
pub(super) struct Coordinator {
    places: BTreeMap<i32, Place>,
}

impl Coordinator {
    pub(super) fn new(partitions: impl Iterator<Item = i32>) -> Self {
        Self { places: partitions.map(|partition| (partition, Place::default())).collect() }
    }

    /// The position of a partition with its mark.
    pub(super) fn committed(&self, partition: i32) -> Option<(i64, Option<i64>)> {
        self.places[&partition].committed
    }

    fn place(&mut self, partition: i32) -> &mut Place {
        self.places.get_mut(&partition).unwrap()
    }
}

impl World {
    pub(super) fn member_joins(&mut self) {
        let member = self.members.len();
        let commit_interval = self.chance.millis(200..3_000);
        self.members.push(Member::new(self.rules, commit_interval));
        self.after(self.members[member].commit_interval, Event::CommitIsDue { member });
        self.draw_owners(50);
        self.settle();
    }

    /// Something happens to the group, at random.
    pub(super) fn group_changes(&mut self) {
        if self.is_faultless {
            return;
        }
        let lasts = self.chance.millis(300..8_000);
        self.after(lasts, Event::GroupChanges);
        let running: Vec<MemberId> = self.running().collect();
        if running.is_empty() {
            return;
        }
        let member = self.chance.one_of(&running);
        match self.chance.number(0..10) {
            0..4 => {
                let how_many = self.chance.one_of(&[20, 50, 100]);
                self.draw_owners(how_many);
            }
            4..6 => self.loses_its_partitions(member),
            6..8 => self.crashes(member),
            _ => self.stops(member),
        }
        self.settle();
    }

    fn running(&self) -> impl Iterator<Item = MemberId> {
        let members = self.members.iter().enumerate();
        members.filter(|(_, member)| member.is_running && !member.is_stopping()).map(|(number, _)| number)
    }

    fn draw_owners(&mut self, percent: u64) {
        let running: Vec<MemberId> = self.running().collect();
        for place in self.coordinator.places.values_mut() {
            if !running.is_empty() && self.chance.percent(percent) {
                place.wanted_by = self.chance.one_of(&running);
            }
        }
    }

    /// Sees to it that partitions go where they are wanted, as far as that is possible now.
    pub(super) fn settle(&mut self) {
        let running: Vec<MemberId> = self.running().collect();
        if running.is_empty() {
            return;
        }
        for place in self.coordinator.places.values_mut() {
            if !running.contains(&place.wanted_by) {
                place.wanted_by = self.chance.one_of(&running);
            }
        }
        for member in running {
            let tenures = self.members[member].tenures.clone().into_iter();
            let unwanted = tenures.filter(|(partition, tenure)| {
                !self.ledger.tenures[*tenure].is_over
                    && self.coordinator.place(*partition).wanted_by != member
            });
            let unwanted: Vec<i32> = unwanted.map(|(partition, _)| partition).collect();
            if !unwanted.is_empty() && self.members[member].draining.is_none() {
                self.hands_back(member, unwanted, false);
            }
        }
        for partition in self.topic.partitions().collect::<Vec<_>>() {
            let Place { owner, wanted_by: member, is_being_taken, .. } = *self.coordinator.place(partition);
            if owner.is_none() && !is_being_taken && self.can_take_over(member, partition) {
                self.coordinator.place(partition).is_being_taken = true;
                let looks_up_the_position = self.chance.millis(1..300);
                self.after(looks_up_the_position, Event::TakesOver { member, partition });
            }
        }
    }

    /// A thread that waits for calls takes nothing over, and nobody what it does not know yet that it has lost.
    fn can_take_over(&self, member: MemberId, partition: i32) -> bool {
        let member = &self.members[member];
        let is_there = member.is_running && !member.is_stopping() && member.draining.is_none();
        is_there && !member.tenures.contains_key(&partition)
    }

    pub(super) fn takes_over(&mut self, member: MemberId, partition: i32) {
        self.coordinator.place(partition).is_being_taken = false;
        if self.coordinator.place(partition).wanted_by != member || !self.can_take_over(member, partition) {
            return self.settle();
        }
        self.look(member);
        let committed = self.coordinator.committed(partition);
        let mark = committed.and_then(|(_, mark)| mark);
        let position = committed.map_or(StartPosition::Beginning, |(next, _)| StartPosition::At(next));
        let start = committed.map_or(0, |(next, _)| next);
        let tenure = self.ledger.tenure_starts(member, partition, start, mark);
        self.coordinator.place(partition).owner = Some(tenure);
        let of_this = &mut self.members[member];
        of_this.assignments.assign(partition, position, mark, self.now);
        let is_paused = of_this.paused.contains(&partition);
        if is_paused {
            of_this.assignments.is_paused_already(partition);
        }
        of_this.readings.insert(partition, Reading::new(start, is_paused));
        of_this.tenures.insert(partition, tenure);
        if mark.is_some() {
            self.operator_is_called(partition);
        }
        self.will_read(member);
        self.turn(member);
    }

    /// Closes the partitions, and gives them back when nothing of them is on the wire or the time is over.
    fn hands_back(&mut self, member: MemberId, partitions: Vec<i32>, then_leaves: bool) {
        self.look(member);
        let number = self.events_so_far;
        for partition in &partitions {
            let of_this = &mut self.members[member];
            of_this.assignments.close(*partition);
            of_this.readings.remove(partition);
            self.ledger.closed(of_this.tenures[partition], of_this.assignments.breaker_state());
        }
        let drain_timeout = self.chance.millis(10..4_000);
        let deadline = self.now + drain_timeout;
        self.members[member].draining = Some(Drain { number, partitions, then_leaves, deadline });
        self.after(drain_timeout, Event::DrainTimesOut { member, drain: number });
        self.turn(member);
    }

    pub(super) fn drain_times_out(&mut self, member: MemberId, drain: u64) {
        if self.members[member].draining.as_ref().is_some_and(|draining| draining.number == drain) {
            self.look(member);
            self.drain_ends(member);
            self.turn(member);
        }
    }

    pub(super) fn drain_ends(&mut self, member: MemberId) {
        let Some(Drain { partitions, then_leaves, .. }) = self.members[member].draining.take() else {
            return;
        };
        let commits = self.members[member].assignments.committable(&partitions);
        let commits = self.with_their_tenures(member, commits);
        if !self.has_bad_luck(20) {
            self.commit(&commits);
        }
        for partition in &partitions {
            self.members[member].assignments.revoke(*partition);
            let tenure = self.members[member].tenures.remove(partition).unwrap();
            self.ledger.revoked.insert(tenure);
            self.is_over(tenure);
        }
        if then_leaves {
            self.members[member].is_running = false;
            self.comes_back();
        }
        self.settle();
    }

    pub(super) fn has_bad_luck(&mut self, percent: u64) -> bool {
        !self.is_faultless && self.chance.percent(percent)
    }

    fn is_over(&mut self, tenure: TenureId) {
        self.ledger.tenures[tenure].is_over = true;
        let partition = self.ledger.tenures[tenure].partition;
        self.coordinator.place(partition).owner.take_if(|owner| *owner == tenure);
    }

    fn loses_its_partitions(&mut self, member: MemberId) {
        for tenure in self.members[member].tenures.values().copied().collect::<Vec<_>>() {
            self.is_over(tenure);
        }
        self.draw_owners(50);
        let notices = self.chance.one_of(&[0, 200, 2_000]);
        let notices = self.chance.millis(0..notices + 1);
        self.after(notices, Event::LossIsNoticed { member });
    }

    pub(super) fn loss_is_noticed(&mut self, member: MemberId) {
        if !self.members[member].is_running {
            return;
        }
        if self.members[member].draining.is_some() {
            let later = self.chance.millis(1..200);
            return self.after(later, Event::LossIsNoticed { member });
        }
        self.look(member);
        let of_this = &mut self.members[member];
        let over = of_this.tenures.extract_if(.., |_, tenure| self.ledger.tenures[*tenure].is_over);
        for (partition, tenure) in over.collect::<Vec<_>>() {
            of_this.assignments.revoke(partition);
            of_this.readings.remove(&partition);
            self.ledger.revoked.insert(tenure);
            self.ledger.closed(tenure, of_this.assignments.breaker_state());
        }
        self.turn(member);
        self.settle();
    }

    fn crashes(&mut self, member: MemberId) {
        self.members[member].is_running = false;
        self.members[member].draining = None;
        let session = self.chance.millis(0..6_000);
        self.after(session, Event::SessionTimesOut { member });
        self.comes_back();
    }

    pub(super) fn session_times_out(&mut self, member: MemberId) {
        for tenure in self.members[member].tenures.values().copied().collect::<Vec<_>>() {
            self.is_over(tenure);
        }
        self.settle();
    }

    fn stops(&mut self, member: MemberId) {
        if self.members[member].draining.is_none() {
            let partitions = self.members[member].tenures.keys().copied().collect();
            self.hands_back(member, partitions, true);
        }
    }

    fn comes_back(&mut self) {
        let starts = self.chance.millis(0..5_000);
        self.after(starts, Event::MemberJoins);
    }

    pub(super) fn with_their_tenures(
        &mut self,
        member: MemberId,
        commits: Vec<Commit>,
    ) -> Vec<(TenureId, Commit)> {
        let commits = commits.into_iter().map(|commit| {
            let tenure = self.members[member].tenures[&commit.partition];
            self.ledger.commit(tenure, &commit);
            (tenure, commit)
        });
        commits.collect()
    }

    /// False if one of them was refused.
    pub(super) fn commit(&mut self, commits: &[(TenureId, Commit)]) -> bool {
        let mut all = true;
        for (tenure, Commit { partition, position: NextOffset(next), ceiling_reached_at }) in commits {
            if self.ledger.tenures[*tenure].is_over {
                all = false;
                continue;
            }
            self.coordinator.place(*partition).committed = Some((*next, *ceiling_reached_at));
            self.ledger.committed(&self.topic, *partition, *next);
        }
        all
    }
}
