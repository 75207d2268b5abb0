//! # Breaker
//!
//! How many calls the platform can bear at the moment. While it takes what it is given, as many as the limit says. While
//! most records fail, one call at a time, after a wait that grows, and intake pauses: an outage is met with a question now
//! and then, not with everything that waits. Once an answer is good again, each further one allows one call more, so the
//! number doubles with every round; a failure on the way halves it. A platform that asks for fewer calls (429) gets half
//! of them, and none at all for as long as it says.
//!
//! It looks at records, not at calls: one record that is tried for ever is one that fails, however quiet the
//! topic is, and can neither make an outage (`one_record_that_always_fails_is_no_outage`) nor keep one from ending
//! (`records_that_always_fail_do_not_keep_it_from_recovering`).
//!
//! Pure data: no clock, no sleeping. Time comes in as `now`.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::retry;

/// The most that `longest_retry_after` may be: no platform is believed more.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The settings `[delivery.breaker]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerRules {
    /// The last outcome of so many records is looked at.
    pub records: usize,
    /// About how long to wait before asking a platform that fails.
    #[serde(with = "humantime_serde")]
    pub first_wait: Duration,
    /// The wait never grows beyond this.
    #[serde(with = "humantime_serde")]
    pub longest_wait: Duration,
    /// A platform that asks for more patience than this gets this much.
    #[serde(with = "humantime_serde")]
    pub longest_retry_after: Duration,
}

/// Tells one record from every other: its assignment, and its offset.
pub(crate) type RecordId = (u64, i64);

/// What the breaker makes of the platform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BreakerState {
    /// It takes what it is given.
    #[default]
    Closed,
    /// Most records fail.
    Open,
    /// It takes records again, or wants fewer of them.
    Recovering,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "no outage seen",
            Self::Open => "most records fail",
            Self::Recovering => "it recovers, or wants fewer",
        })
    }
}

#[derive(Debug)]
pub(crate) struct Breaker {
    rules: BreakerRules,
    limit: usize,
    allowed: usize,
    state: BreakerState,
    /// Of each record the last outcome: whether it failed.
    recent: VecDeque<(RecordId, bool)>,
    /// The wait before the next question of an outage.
    held_until: Option<Instant>,
    /// For so long the platform wants no call: that others which were on the wire are taken does not shorten it.
    patience_until: Option<Instant>,
    probes_failed: u32,
}

impl Breaker {
    pub(crate) fn new(rules: BreakerRules, limit: usize) -> Self {
        Self {
            rules,
            limit,
            allowed: limit,
            state: BreakerState::Closed,
            recent: VecDeque::with_capacity(rules.records + 1),
            held_until: None,
            patience_until: None,
            probes_failed: 0,
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.state
    }

    /// How many calls may run at a time at the moment.
    pub(crate) fn allowed(&self) -> usize {
        self.allowed
    }

    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.state == BreakerState::Closed
    }

    /// Whether one more call may start beside those on the wire for what is owned now. One of an earlier assignment does not count:
    /// it may never end.
    pub(crate) fn may_start(&self, on_the_wire: usize, now: Instant) -> bool {
        self.has_room(on_the_wire) && self.held_until().is_none_or(|until| until <= now)
    }

    /// The same, but for a time that must pass first.
    pub(crate) fn has_room(&self, on_the_wire: usize) -> bool {
        on_the_wire < self.allowed
    }

    /// Until when nothing may start at all, if that lies ahead.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.held_until.max(self.patience_until)
    }

    /// The platform has taken the record, or has judged it, which is as good a sign. True if that ends an outage.
    pub(crate) fn took(&mut self, record: RecordId, failed_before: bool) -> bool {
        match self.state {
            BreakerState::Closed => {
                self.note(record, false, failed_before);
                false
            }
            BreakerState::Open => {
                self.state = BreakerState::Recovering;
                self.allowed = 2.min(self.limit);
                (self.held_until, self.probes_failed) = (None, 0);
                self.close_when_recovered();
                true
            }
            BreakerState::Recovering => {
                self.allowed += 1;
                self.close_when_recovered();
                false
            }
        }
    }

    /// A call has failed; `on_the_wire` are left.
    pub(crate) fn failed(&mut self, record: RecordId, failed_before: bool, on_the_wire: usize, now: Instant) {
        match self.state {
            BreakerState::Closed => {
                self.note(record, true, failed_before);
                let failing = self.recent.iter().filter(|(_, failed)| *failed).count();
                if failing * 2 > self.rules.records {
                    self.open(now);
                }
            }
            // What was on the wire when it opened says nothing new; a probe starts only when nothing else is, and when
            // the wait is over.
            BreakerState::Open if on_the_wire == 0 && self.may_start(0, now) => self.open(now),
            BreakerState::Open => {}
            BreakerState::Recovering if self.allowed == 1 => self.open(now),
            BreakerState::Recovering => self.allowed /= 2,
        }
    }

    /// The same, where others were taken since the record failed before. While it recovers that says something of the
    /// record and nothing of the platform: with few records to take it would else halve more often than it grows.
    pub(crate) fn failed_beside_others(&mut self, record: RecordId, on_the_wire: usize, now: Instant) {
        match self.state {
            BreakerState::Recovering => {}
            BreakerState::Closed | BreakerState::Open => self.failed(record, true, on_the_wire, now),
        }
    }

    /// The platform wants fewer calls.
    pub(crate) fn throttled(&mut self, retry_after: Option<Duration>, on_the_wire: usize, now: Instant) {
        if self.state != BreakerState::Open {
            self.state = BreakerState::Recovering;
            self.allowed = (self.allowed.min(on_the_wire + 1) / 2).max(1);
        }
        let wait = retry_after.unwrap_or(self.rules.first_wait).min(self.rules.longest_retry_after);
        self.patience_until = self.patience_until.max(Some(now + wait));
    }

    fn note(&mut self, record: RecordId, failed: bool, failed_before: bool) {
        if failed_before {
            self.recent.retain(|(other, _)| *other != record);
        }
        self.recent.push_back((record, failed));
        if self.recent.len() > self.rules.records {
            self.recent.pop_front();
        }
    }

    fn open(&mut self, now: Instant) {
        self.state = BreakerState::Open;
        self.allowed = 1;
        self.recent.clear();
        self.probes_failed = self.probes_failed.saturating_add(1);
        let wait = retry::doubled(self.rules.first_wait, self.rules.longest_wait, self.probes_failed);
        self.held_until = Some(now + wait);
    }

    fn close_when_recovered(&mut self) {
        if self.allowed >= self.limit {
            self.allowed = self.limit;
            self.state = BreakerState::Closed;
            self.probes_failed = 0;
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
