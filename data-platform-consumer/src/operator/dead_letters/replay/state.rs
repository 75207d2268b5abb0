//! # State
//!
//! What one replay knows: which dead letters it means, the partitions that its group gave to it, and what became of
//! each. Only the thread that polls touches it.
//!
//! A partition's dead letters are read anew, from the beginning to the end, each time it is assigned, and nothing of it is
//! started before: what another replay resolved before it handed the partition over stands there by then. Of positions
//! nothing is committed, ever: what is open is told by resolutions alone, so no position can hide it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use shared_messages::dead_letter::ResolutionOutcome;
use tokio::sync::watch;

use super::super::letter::{LetterId, Letters};
use super::call::{Calls, Ending, Report};
use super::plan::Plan;
use crate::delivery::Record;

/// What became of a dead letter that was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Delivered, and resolved.
    Replayed,
    /// Somebody else resolved it meanwhile.
    Resolved(ResolutionOutcome),
    /// It is still open, for this reason.
    Failed(String),
    /// It was not tried, as this one of its key failed.
    HeldBack(LetterId),
    /// It is no longer in the topic.
    Gone,
}

/// One period in which a partition is ours.
struct Assignment {
    read_to_its_end: bool,
    /// Says so to the calls that wait for their next attempt.
    closed: watch::Sender<bool>,
}

pub(super) struct State {
    chosen: BTreeSet<LetterId>,
    pub(super) outcomes: BTreeMap<LetterId, Outcome>,
    /// What was not told yet.
    news: Vec<LetterId>,
    letters: Letters,
    owned: BTreeMap<i32, Assignment>,
    /// Whether the group has given it partitions, if only none.
    pub(super) joined: bool,
    pub(super) broken: Option<String>,
    /// Nothing more is started, for this reason.
    pub(super) halted: Option<String>,
    plan: Plan,
    calls: Calls,
    reports: Receiver<Report>,
    in_flight_limit: usize,
    drain_timeout: Duration,
    pub(super) changed_at: Instant,
}

impl State {
    pub(super) fn new(
        chosen: BTreeSet<LetterId>,
        calls: Calls,
        reports: Receiver<Report>,
        in_flight_limit: usize,
        drain_timeout: Duration,
    ) -> Self {
        Self {
            chosen,
            outcomes: BTreeMap::new(),
            news: Vec::new(),
            letters: Letters::default(),
            owned: BTreeMap::new(),
            joined: false,
            broken: None,
            halted: None,
            plan: Plan::default(),
            calls,
            reports,
            in_flight_limit,
            drain_timeout,
            changed_at: Instant::now(),
        }
    }

    /// These partitions are ours from now on, to be read from their beginning.
    pub(super) fn take_over(&mut self, partitions: &[i32]) {
        (self.joined, self.changed_at) = (true, Instant::now());
        for partition in partitions {
            self.letters.forget(*partition);
            let assignment = Assignment { read_to_its_end: false, closed: watch::channel(false).0 };
            self.owned.insert(*partition, assignment);
        }
    }

    /// All partitions go. What is on its way has a bounded time to end, unless it is too late for that anyway.
    pub(super) fn hand_back(&mut self, lost: bool) {
        self.changed_at = Instant::now();
        self.close();
        if !lost {
            self.await_calls();
        }
        self.owned.clear();
    }

    /// Starts nothing more, in the present partitions.
    fn close(&mut self) {
        for assignment in self.owned.values() {
            assignment.closed.send_replace(true);
        }
        self.plan.drop_waiting();
    }

    /// Starts nothing more at all.
    pub(super) fn halt(&mut self, reason: &str) {
        if self.halted.is_none() {
            self.halted = Some(reason.to_owned());
            self.close();
        }
    }

    /// Waits for the calls on their way, for as long as partitions that are handed back wait for theirs.
    fn await_calls(&mut self) {
        let deadline = Instant::now() + self.drain_timeout;
        while self.plan.running() > 0 {
            match self.reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(report) => self.reported(report),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    tracing::warn!("calls are still on their way; another replay may repeat them");
                    return;
                }
            }
        }
    }

    /// A record of one of our partitions.
    pub(super) fn take(&mut self, record: Record) {
        let Some(assignment) = self.owned.get(&record.position().partition) else { return };
        if !assignment.read_to_its_end {
            self.changed_at = Instant::now();
        }
        if let Some((id, resolution)) = self.letters.take(record)
            && self.chosen.contains(&id)
            // One that is on its way reports by itself: this may be its own resolution, read back.
            && !self.plan.is_running(id)
        {
            self.resolved_elsewhere(id, resolution.outcome);
        }
    }

    /// Everything that lay in the partition when it was assigned is known: what of it is meant and open can start.
    pub(super) fn read_to_the_end(&mut self, partition: i32) {
        let Some(assignment) =
            self.owned.get_mut(&partition).filter(|assignment| !assignment.read_to_its_end)
        else {
            return;
        };
        assignment.read_to_its_end = true;
        self.changed_at = Instant::now();
        let of_partition = LetterId { partition, offset: 0 }..=LetterId { partition, offset: i64::MAX };
        let meant: Vec<LetterId> = self.chosen.range(of_partition).copied().collect();
        // What failed in an earlier assignment still holds back the later ones of its key.
        let mut held_back_by: HashMap<Box<[u8]>, LetterId> = HashMap::new();
        for id in meant {
            let Some(letter) = self.letters.find(id) else {
                if !self.outcomes.contains_key(&id) {
                    self.settle(id, Outcome::Gone);
                }
                continue;
            };
            let key = letter.record.key();
            match (self.outcomes.get(&id), key) {
                (Some(Outcome::Failed(_)), Some(key)) => drop(held_back_by.insert(key.into(), id)),
                (Some(_), _) => {}
                (None, key) => match key.and_then(|key| held_back_by.get(key)) {
                    Some(earlier) => self.settle(id, Outcome::HeldBack(*earlier)),
                    None if self.halted.is_none() => self.plan.push(id, key),
                    None => {}
                },
            }
        }
    }

    /// Takes in what ended, and starts what there is room for.
    pub(super) fn go_on(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.reported(report);
        }
        while self.halted.is_none() && self.plan.running() < self.in_flight_limit {
            let Some(id) = self.plan.start_next() else { return };
            self.start(id);
        }
    }

    fn start(&mut self, id: LetterId) {
        if self.outcomes.contains_key(&id) {
            self.plan.done(id);
            return;
        }
        let (Some(letter), Some(assignment)) = (self.letters.find(id), self.owned.get(&id.partition)) else {
            self.plan.done(id);
            return;
        };
        match &letter.event {
            Ok(event) => self.calls.start(id, event.clone(), assignment.closed.subscribe()),
            Err(undecodable) => {
                let cause = format!("it cannot be read: {undecodable}");
                self.failed(id, cause);
            }
        }
    }

    fn reported(&mut self, Report { id, ending }: Report) {
        self.changed_at = Instant::now();
        match ending {
            Ending::Replayed => {
                self.plan.done(id);
                self.settle(id, Outcome::Replayed);
            }
            Ending::Failed(cause) => self.failed(id, cause),
            Ending::Halted(cause) => {
                self.halt(&format!("the platform takes nothing from us: {cause}"));
                self.failed(id, cause);
            }
            Ending::Interrupted => drop(self.plan.failed(id)),
        }
    }

    fn failed(&mut self, id: LetterId, cause: String) {
        self.settle(id, Outcome::Failed(cause));
        for later in self.plan.failed(id) {
            self.settle(later, Outcome::HeldBack(id));
        }
    }

    fn settle(&mut self, id: LetterId, outcome: Outcome) {
        self.changed_at = Instant::now();
        self.outcomes.insert(id, outcome);
        self.news.push(id);
    }

    /// Somebody else resolved it, as the topic says.
    pub(super) fn resolved_elsewhere(&mut self, id: LetterId, outcome: ResolutionOutcome) {
        if !self.outcomes.contains_key(&id) {
            self.settle(id, Outcome::Resolved(outcome));
        }
    }

    /// What became of those that were not told of yet.
    pub(super) fn take_news(&mut self) -> Vec<(LetterId, Outcome)> {
        let news = std::mem::take(&mut self.news);
        news.into_iter().filter_map(|id| Some((id, self.outcomes.get(&id)?.clone()))).collect()
    }

    /// Those of which nothing is known yet.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = LetterId> {
        self.chosen.iter().filter(|id| !self.outcomes.contains_key(id)).copied()
    }

    /// Nothing of our partitions is left to try.
    pub(super) fn is_idle(&self) -> bool {
        self.plan.is_empty() && self.owned.values().all(|assignment| assignment.read_to_its_end)
    }

    /// Whether anything is on its way. How long that may take is the sink's affair.
    pub(super) fn is_calling(&self) -> bool {
        self.plan.running() > 0
    }

    pub(super) fn owns_nothing(&self) -> bool {
        self.owned.is_empty()
    }
}
