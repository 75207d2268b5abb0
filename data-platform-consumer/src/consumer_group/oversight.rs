//! # Oversight
//!
//! Once a second: how all of it stands is written down for an operator, and whether anything stands still that should move
//! is looked at. It waits for nothing: ends of partitions come with the client's statistics, and those of paused ones, which
//! are not fetched, by a look-up that runs elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::group::Group;
use super::watchdog::Watchdog;
use super::{GroupConsumer, Signal};
use crate::status::Status;

const INTERVAL: Duration = Duration::from_secs(1);
/// How often the end of some paused partition is looked up, and how long that may take.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_UP_TIME: Duration = Duration::from_secs(1);
/// How long a member that has stalled stays out of the group, so that others have taken its partitions over.
const REST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Overseer {
    watchdog: Watchdog,
    patience: Duration,
    ends: BTreeMap<i32, i64>,
    next: Instant,
    next_look_up: Instant,
    looks_up: bool,
    looked_up_last: i32,
}

impl Overseer {
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            watchdog: Watchdog::new(patience),
            patience,
            ends: BTreeMap::new(),
            next: now,
            next_look_up: now,
            looks_up: false,
            looked_up_last: -1,
        }
    }

    /// A topic of the same name can be another one by the next client.
    pub(super) fn forget_ends(&mut self) {
        self.ends.clear();
    }

    pub(super) fn forget_end(&mut self, partition: i32) {
        self.ends.remove(&partition);
    }

    pub(super) fn is_looking_up(&self) -> bool {
        self.looks_up
    }
}

impl Group {
    /// What the client's statistics say of the partitions' ends.
    pub(super) fn ends_seen(&mut self, ends: impl IntoIterator<Item = (i32, i64)>) {
        for (partition, end) in ends {
            let known = self.overseer.ends.entry(partition).or_insert(end);
            *known = end.max(*known);
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
        let (status, movements) = self.assignments.look(&self.overseer.ends, !is_connected, now);
        let (group_id, topic) = (self.kafka.group_id.clone(), self.topic.to_string());
        self.health.board.write(Status { group_id, topic, ..status });
        let all_move = self.health.has_joined()
            && movements.iter().all(|(_, movement)| movement.moved || !movement.has_work);
        let stalled = self.overseer.watchdog.look(movements, now);
        if stalled.is_empty() {
            if all_move {
                self.health.delivery.moving();
            }
        } else {
            self.health.delivery.stalled(&stalled, self.overseer.patience);
            self.client_is_broken = true;
            self.rest = Some(REST);
        }
        self.look_up_an_end(consumer, now);
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
