//! # World
//!
//! Time, and what happens at which moment. Nothing happens between two events, and a member's thread wakes only when it
//! has something in its mailbox or what [`Assignments::next_due`] announced has come: what it does not announce is found as
//! something that is late, or never finishes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::coordinator::Coordinator;
use super::dead_letter_topic::DeadLetterTopic;
use super::ledger::{CallId, Ledger, TenureId};
use super::member::Member;
use super::platform::Platform;
use super::topic::{Nature, Position, Topic, TopicRecord};
use crate::consumer_group::assignment::{Commit, Window};
use crate::consumer_group::assignments::{AssignmentEpoch, DeliveryRules};
use crate::delivery::RetryPolicy;
use crate::delivery::blame::BlameRules;
use crate::delivery::breaker::BreakerRules;
use crate::delivery::ceiling::{CeilingRules, RecentDeadLetters};
use crate::delivery::dead_letters::ParkingReport;

/// A member of one life: one that comes back is another.
pub(super) type MemberId = usize;

#[derive(Debug)]
pub(super) enum Event {
    Produced,
    /// Something that can be taken, as long as there is a record that fails for ever.
    Trickles,
    CallEnds(CallId),
    DeadLetterArrives {
        member: MemberId,
        tenure: TenureId,
        epoch: AssignmentEpoch,
        position: Position,
    },
    DeadLetterAnswered {
        member: MemberId,
        tenure: TenureId,
        report: ParkingReport,
    },
    EndIsRead {
        member: MemberId,
        tenure: TenureId,
        epoch: AssignmentEpoch,
    },
    EndWasRead {
        member: MemberId,
        tenure: TenureId,
        epoch: AssignmentEpoch,
        seen: Option<RecentDeadLetters>,
    },
    CommitIsDue {
        member: MemberId,
    },
    CommitArrives {
        member: MemberId,
        commits: Vec<(TenureId, Commit)>,
    },
    CommitAnswered {
        member: MemberId,
        commits: Vec<(TenureId, Commit)>,
        was_taken: bool,
    },
    /// What the assignments announced, unless it was replaced since.
    Due {
        member: MemberId,
        announcement: u64,
    },
    Readable {
        member: MemberId,
    },
    DrainTimesOut {
        member: MemberId,
        drain: u64,
    },
    TakesOver {
        member: MemberId,
        partition: i32,
    },
    GroupChanges,
    LossIsNoticed {
        member: MemberId,
    },
    SessionTimesOut {
        member: MemberId,
    },
    MemberJoins,
    PlatformChanges,
    DeadLetterTopicChanges,
    OperatorResumesParking {
        partition: i32,
    },
    FaultsStop,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) rules: DeliveryRules,
    pub(super) chance: Chance,
    pub(super) now: Instant,
    pub(super) topic: Topic,
    pub(super) coordinator: Coordinator,
    pub(super) platform: Platform,
    pub(super) dead_letters: DeadLetterTopic,
    pub(super) ledger: Ledger,
    pub(super) members: Vec<Member>,
    pub(super) is_faultless: bool,
    some_fail_for_ever: bool,
    pub(super) events_so_far: u64,
    begin: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    records_to_come: usize,
    finishes_by: Option<Instant>,
    history: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, with_history: bool) -> Self {
        let mut chance = Chance::new(seed);
        let begin = Instant::now() + Duration::from_hours(24);
        let mut rules = any_rules(&mut chance);
        let mut topic = Topic::new(&mut chance);
        let some_fail_for_ever = chance.percent(5);
        if some_fail_for_ever {
            topic = topic.with_two_that_fail_for_ever();
            // Two of so many are not most of them, and there is room for others until they are given up.
            rules.breaker.records += 4;
            rules.window.records = 10_000;
            rules.window.bytes = 30_000;
            // Between two tries others are taken, but not half as many as would close the breaker again.
            rules.retry =
                RetryPolicy { first_wait: Duration::from_secs(2), longest_wait: Duration::from_secs(4) };
            rules.in_flight_limit = 100;
        }
        let mut world = Self {
            rules,
            now: begin,
            coordinator: Coordinator::new(topic.partitions()),
            topic,
            platform: Platform::new(),
            dead_letters: DeadLetterTopic::new(),
            ledger: Ledger::new(rules),
            members: Vec::new(),
            is_faultless: false,
            some_fail_for_ever,
            events_so_far: 0,
            begin,
            events: BTreeMap::new(),
            records_to_come: chance.count(10..60),
            finishes_by: None,
            history: with_history.then(Vec::new),
            chance,
        };
        for _ in 0..world.chance.count(1..4) {
            world.after(Duration::ZERO, Event::MemberJoins);
        }
        for event in
            [Event::Produced, Event::PlatformChanges, Event::DeadLetterTopicChanges, Event::GroupChanges]
        {
            let soon = world.chance.millis(0..4_000);
            world.after(soon, event);
        }
        let faults_stop = world.chance.millis(5_000..45_000);
        world.after(faults_stop, Event::FaultsStop);
        world
    }

    pub(super) fn after(&mut self, wait: Duration, event: Event) {
        self.events_so_far += 1;
        self.events.insert((self.now + wait, self.events_so_far), event);
    }

    /// Lives through the whole history.
    pub(super) fn run(&mut self) {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            if let Some(history) = &mut self.history {
                history.push(format!("{:>10.3?} {event:?}", at - self.begin));
            }
            assert!(self.finishes_by.is_none_or(|by| at <= by), "it does not finish: {:?}", self.members);
            self.happens(event);
            if self.is_finished() {
                return self.nothing_was_lost();
            }
        }
        panic!("nothing happens any more, and not everything is finished");
    }

    /// The last moments, in words.
    pub(super) fn history(&self) -> String {
        let history = self.history.as_deref().unwrap_or_default();
        history[history.len().saturating_sub(60)..].join("\n")
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Produced => self.produced(),
            Event::Trickles => self.trickles(),
            Event::CallEnds(call) => self.call_ends(call),
            Event::DeadLetterArrives { member, tenure, epoch, position } => {
                self.dead_letter_arrives(member, tenure, epoch, position);
            }
            Event::DeadLetterAnswered { member, tenure, report } => {
                self.dead_letter_answered(member, tenure, report);
            }
            Event::EndIsRead { member, tenure, epoch } => {
                let partition = self.ledger.tenures[tenure].partition;
                let seen = self.dead_letters.read(partition, self.rules.ceiling.window, self.now);
                let travel = self.dead_letters.time_of_travel(&mut self.chance);
                self.after(travel, Event::EndWasRead { member, tenure, epoch, seen });
            }
            Event::EndWasRead { member, tenure, epoch, seen } => {
                self.end_was_read(member, tenure, epoch, seen.as_ref());
            }
            Event::CommitIsDue { member } => self.commit_is_due(member),
            Event::CommitArrives { member, commits } => self.commit_arrives(member, commits),
            Event::CommitAnswered { member, commits, was_taken } => {
                self.commit_answered(member, &commits, was_taken);
            }
            Event::Due { member, announcement } => self.is_due(member, announcement),
            Event::Readable { member } => self.reads(member),
            Event::DrainTimesOut { member, drain } => self.drain_times_out(member, drain),
            Event::TakesOver { member, partition } => self.takes_over(member, partition),
            Event::GroupChanges => self.group_changes(),
            Event::LossIsNoticed { member } => self.loss_is_noticed(member),
            Event::SessionTimesOut { member } => self.session_times_out(member),
            Event::MemberJoins => self.member_joins(),
            Event::PlatformChanges => {
                if !self.is_faultless {
                    self.platform.change(&mut self.chance);
                    let lasts = self.chance.millis(200..8_000);
                    self.after(lasts, Event::PlatformChanges);
                }
            }
            Event::DeadLetterTopicChanges => {
                if !self.is_faultless {
                    self.dead_letters.change(&mut self.chance);
                    let lasts = self.chance.millis(500..10_000);
                    self.after(lasts, Event::DeadLetterTopicChanges);
                }
            }
            Event::OperatorResumesParking { partition } => self.dead_letters.resume_parking(partition),
            Event::FaultsStop => self.faults_stop(),
        }
    }

    fn produced(&mut self) {
        for _ in 0..self.chance.count(1..6).min(self.records_to_come) {
            self.topic.append(&mut self.chance);
            self.records_to_come -= 1;
        }
        (0..self.members.len()).for_each(|member| self.will_read(member));
        if self.records_to_come > 0 {
            let soon = self.chance.millis(1..3_000);
            self.after(soon, Event::Produced);
        }
    }

    fn trickles(&mut self) {
        let is_open = |position: Position, record: &TopicRecord| {
            let committed = self.coordinator.committed(position.partition).map_or(0, |(next, _)| next);
            record.nature == Nature::Failing && position.offset >= committed
        };
        if self.topic.all().any(|(position, record)| is_open(position, record)) || self.records_to_come > 0 {
            self.topic.append_a_sound_one(&mut self.chance);
            (0..self.members.len()).for_each(|member| self.will_read(member));
            let soon = self.chance.millis(20..150);
            self.after(soon, Event::Trickles);
        }
    }

    fn faults_stop(&mut self) {
        self.is_faultless = true;
        self.platform.repair(!self.some_fail_for_ever);
        if self.some_fail_for_ever {
            self.after(Duration::ZERO, Event::Trickles);
        }
        self.dead_letters.repair();
        // A session, a drain and a slow call end; the longest waits pass; records come at 3 s. Then every record at fault
        // may wait for an operator, who takes up to 3 s, to be seen after 5 s; and one that fails for ever fails three times
        // before it is given up.
        let (retry, breaker) = (self.rules.retry, self.rules.breaker);
        let waits = retry.longest_wait + breaker.longest_wait + breaker.longest_retry_after;
        let to_come = u32::try_from(self.records_to_come).unwrap();
        let bad = self.topic.all().filter(|(_, record)| record.nature != Nature::Sound).count();
        let may_be_parked = to_come + u32::try_from(bad + self.ledger.at_fault_so_far()).unwrap();
        let bound = Duration::from_mins(1) + waits + Duration::from_secs(3) * to_come;
        let given_up = if self.some_fail_for_ever {
            2 * 4 * (retry.longest_wait + breaker.longest_wait)
        } else {
            Duration::ZERO
        };
        self.finishes_by = Some(self.now + bound + given_up + Duration::from_secs(9) * may_be_parked);
    }

    fn is_finished(&self) -> bool {
        self.is_faultless
            && self.records_to_come == 0
            && self.ledger.nothing_is_on_the_wire()
            && self.topic.partitions().all(|partition| {
                self.coordinator.committed(partition).map_or(0, |(next, _)| next) == self.topic.end(partition)
                    && self.coordinator.committed(partition).is_none_or(|(_, mark)| mark.is_none())
            })
            && self.members.iter().all(|member| member.is_at_rest(&self.ledger, self.now))
    }

    fn nothing_was_lost(&self) {
        for (position, record) in self.topic.all() {
            let is_a_dead_letter = self.dead_letters.has(position);
            match record.nature {
                Nature::Sound | Nature::Failing => {
                    assert!(self.ledger.was_taken(position) || is_a_dead_letter, "{position:?} is lost");
                }
                Nature::Undecodable | Nature::Rejected => assert!(is_a_dead_letter, "{position:?} is lost"),
            }
        }
    }
}

fn any_rules(chance: &mut Chance) -> DeliveryRules {
    DeliveryRules {
        in_flight_limit: chance.count(1..9),
        window: any_window(chance),
        retry: RetryPolicy { first_wait: chance.millis(50..500), longest_wait: chance.millis(500..10_000) },
        breaker: BreakerRules {
            records: chance.count(2..9),
            first_wait: chance.millis(50..1_000),
            longest_wait: chance.millis(1_000..8_000),
            longest_retry_after: chance.millis(1_000..12_000),
        },
        blame: BlameRules {
            failures: u32::try_from(chance.number(1..4)).unwrap(),
            time: chance.millis(0..4_000),
        },
        ceiling: CeilingRules { count: chance.count(1..5), window: chance.millis(5_000..120_000) },
    }
}

/// Records are one to three bytes here, so that now the one measure is full first and now the other.
fn any_window(chance: &mut Chance) -> Window {
    let records = chance.number(2..30);
    Window { records, bytes: 2 * records }
}
