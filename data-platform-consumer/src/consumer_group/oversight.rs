//! # Oversight
//!
//! Once a second: how all of it stands is written down for an operator, and whether anything stands still that should move
//! is looked at. It waits for nothing: ends of partitions, and whether their brokers are in reach, come with the client's
//! statistics, and the ends of paused ones, which are not fetched, by a look-up that runs elsewhere.
//!
//! A member that has stalled leaves the group, and comes back when others have had the time to take its partitions over, and
//! when it has room to work: calls that never end keep their places, and a member without places would take partitions from
//! the others only to let them stand (`a_member_whose_calls_never_end_stays_out_of_the_group`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::assignment::Seen;
use super::group::Group;
use super::recovery::Recovery;
use super::watchdog::{Movement, Reach, Verdict, Watchdog};
use super::{GroupConsumer, Signal};
use crate::status::Status;

const INTERVAL: Duration = Duration::from_secs(1);
/// How often the end of some paused partition is looked up, and how long that may take.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_UP_TIME: Duration = Duration::from_secs(1);
/// How long a member that has stalled stays out of the group at least, so that others have taken its partitions over; not
/// longer than it takes to see that it has stalled.
const LONGEST_REST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Overseer {
    watchdog: Watchdog,
    recovery: Recovery,
    patience: Duration,
    /// It has stalled, and is to stay out of the group for a while.
    rests: bool,
    seen: BTreeMap<i32, Seen>,
    /// What the client said last of a fetch that failed, in its own words.
    fetch_error: Option<String>,
    next: Instant,
    next_look_up: Instant,
    looks_up: bool,
    looked_up_last: i32,
}

impl Overseer {
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            watchdog: Watchdog::new(patience),
            recovery: Recovery::default(),
            patience,
            rests: false,
            seen: BTreeMap::new(),
            fetch_error: None,
            next: now,
            next_look_up: now,
            looks_up: false,
            looked_up_last: -1,
        }
    }

    /// A topic of the same name can be another one by the next client.
    pub(super) fn forget_all(&mut self) {
        self.seen.clear();
        self.fetch_error = None;
        self.watchdog.forget();
        self.recovery.begin();
    }

    pub(super) fn forget(&mut self, partition: i32) {
        self.seen.remove(&partition);
    }

    pub(super) fn is_looking_up(&self) -> bool {
        self.looks_up
    }
}

impl Group {
    /// What the client's statistics say of the partitions' ends.
    pub(super) fn ends_seen(&mut self, ends: impl IntoIterator<Item = (i32, i64)>) {
        for (partition, end) in ends {
            let known = &mut self.overseer.seen.entry(partition).or_default().end;
            *known = (*known).max(Some(end));
        }
    }

    /// What they say of who serves a partition.
    pub(super) fn reach_seen(&mut self, partition: i32, reach: Reach) {
        self.overseer.seen.entry(partition).or_default().reach = reach;
    }

    /// An error that the client goes on after. It does not say of which partition.
    pub(super) fn client_failed(&mut self, name: &str, reason: &str) {
        let is_of_a_broker = self.health.client_error(name, reason);
        if !is_of_a_broker && self.overseer.fetch_error.as_deref() != Some(reason) {
            self.overseer.fetch_error = Some(reason.to_owned());
        }
    }

    pub(super) fn end_seen(&mut self, end: Option<(i32, i64)>) {
        self.overseer.looks_up = false;
        self.ends_seen(end);
    }

    pub(super) fn oversee_if_due(&mut self, consumer: &Arc<GroupConsumer>) {
        let now = Instant::now();
        if now < self.overseer.next {
            return;
        }
        self.overseer.next = now + INTERVAL;
        let is_connected = self.health.is_connected();
        let (status, movements) = self.assignments.look(&self.overseer.seen, !is_connected, now);
        let (group_id, topic) = (self.kafka.group_id.clone(), self.topic.to_string());
        self.health.board.write(Status { group_id, topic, ..status });
        self.tell_what_stands_still(&movements, now);
        self.look_up_an_end(consumer, now);
    }

    fn tell_what_stands_still(&mut self, movements: &[(i32, Movement)], now: Instant) {
        let Verdict { standing, leave } = self.overseer.watchdog.look(movements.iter().copied(), now);
        if leave {
            self.overseer.recovery.begin();
            let Overseer { patience, fetch_error, .. } = &self.overseer;
            self.health.delivery.stalled(&standing, *patience, fetch_error.as_deref());
            self.client_is_broken = true;
            self.overseer.rests = true;
            return;
        }
        let Overseer { patience, fetch_error, .. } = &self.overseer;
        self.health.delivery.unreadable(&standing, *patience, fetch_error.as_deref());
        if self.health.has_joined() && self.overseer.recovery.look(movements, &standing) {
            self.health.delivery.moving();
        }
    }

    /// How long it is to stay out at least, if it has stalled.
    pub(super) fn take_rest(&mut self) -> Option<Duration> {
        std::mem::take(&mut self.overseer.rests).then(|| LONGEST_REST.min(self.overseer.patience))
    }

    /// Whether a member that has stalled may come back: at least half of its places are free. With fewer it would take as many
    /// partitions as the others, and not do its share.
    pub(super) fn has_room_to_come_back(&self) -> bool {
        self.assignments.calls_on_the_wire() <= self.in_flight_limit / 2 && self.assignments.has_room()
    }

    /// For an operator, while it is not in the group.
    pub(super) fn tell_of_the_rest(&mut self, waits_for_calls: bool) {
        let (status, _) = self.assignments.look(&self.overseer.seen, false, Instant::now());
        let (group_id, topic) = (self.kafka.group_id.clone(), self.topic.to_string());
        let rests = self.overseer.rests;
        self.health.board.write(Status { group_id, topic, rests, waits_for_calls, ..status });
    }

    fn look_up_an_end(&mut self, consumer: &Arc<GroupConsumer>, now: Instant) {
        let paused = self.assignments.paused();
        let overseer = &mut self.overseer;
        if overseer.looks_up || now < overseer.next_look_up {
            return;
        }
        let in_turn = paused.iter().find(|partition| **partition > overseer.looked_up_last);
        let Some(partition) = in_turn.or_else(|| paused.first()).copied() else { return };
        overseer.next_look_up = now + LOOK_UP_INTERVAL;
        (overseer.looks_up, overseer.looked_up_last) = (true, partition);
        let (consumer, topic) = (Arc::clone(consumer), Arc::clone(&self.topic));
        self.calls.run_blocking(Signal::EndSeen(None), move || {
            let watermarks = consumer.fetch_watermarks(&topic, partition, LOOK_UP_TIME);
            // Before the answer, as for a commit.
            drop(consumer);
            Signal::EndSeen(watermarks.ok().map(|(_, end)| (partition, end)))
        });
    }
}
