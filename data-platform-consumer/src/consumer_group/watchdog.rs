//! # Watchdog
//!
//! Finds a partition that is ours, has something to do, and does not move, though nothing says that it should wait. That
//! is what a client looks like that has stopped fetching, or a call that never ends: no error tells of it, and a lag
//! grows for days. And one that cannot be read, as it has no leader or its broker is out of our reach; then it is not even
//! known whether there is something to do.
//!
//! What follows is told apart by whether another member could do better, for leaving hands *all* partitions over:
//!
//! - calls that do not end hang on this process: it leaves;
//! - a client that does not fetch from a broker that it reaches may be at fault itself: it leaves, and comes back with a new one.
//!   But once in a while only: what no client can fetch, such as a batch that it does not understand, is no better with another;
//! - a broker that we do not reach, and that the cluster takes for alive (it leads the partition), may be in reach of
//!   others: it leaves, but once in a while only, since a broker that nobody reaches would make all members take turns in
//!   leaving, and the partitions that can be read suffer;
//! - a partition without a leader has none for anybody: it stays.
//!
//! Pure data: it is looked at once a second, and told what moved meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Whether the client could fetch a partition, as far as it knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    #[default]
    Connected,
    /// The brokers say that nobody leads it.
    NoLeader,
    /// There is no connection to this broker, which is to serve it.
    BrokerAway(i32),
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Nothing,
    /// There are records to be read, or nothing is known of the partition yet.
    Unread,
    /// Records were read and are not finished; whether there are more or not.
    Unfinished,
}

/// How one partition looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Movement {
    /// Anything at all: a record was read, a call ended, well or not, a dead letter was answered for.
    pub(crate) moved: bool,
    pub(crate) work: Work,
    /// Connected, too, if nothing is to be fetched from it now.
    pub(crate) reach: Reach,
    /// The platform is away, or an operator must decide.
    pub(crate) waits_on_purpose: bool,
}

/// Why a partition does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standstill {
    CallsDoNotEnd,
    NotFetched,
    BrokerAway(i32),
    NoLeader,
}

/// What was found, and whether to leave the group for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) standing: Vec<(i32, Standstill)>,
    pub(crate) leave: bool,
}

#[derive(Debug)]
pub(crate) struct Watchdog {
    patience: Duration,
    still_since: BTreeMap<i32, Instant>,
    out_of_reach_since: BTreeMap<i32, Instant>,
    looked_at: Option<Instant>,
    left_for_a_broker_at: Option<Instant>,
    left_for_a_new_client_at: Option<Instant>,
}

/// Between two looks so far apart this process itself stood still, which says nothing of its work.
const LOOKS_TOO_FAR_APART: Duration = Duration::from_secs(10);
/// How long another member's chance to read what this one cannot lasts, at least: a member leaves for that not more often.
const LEAVES_TO_HAVE_IT_READ_AGAIN_AFTER: Duration = Duration::from_hours(1);

impl Watchdog {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            still_since: BTreeMap::new(),
            out_of_reach_since: BTreeMap::new(),
            looked_at: None,
            left_for_a_broker_at: None,
            left_for_a_new_client_at: None,
        }
    }

    /// With a new client everything begins anew.
    pub(crate) fn forget(&mut self) {
        self.still_since.clear();
        self.out_of_reach_since.clear();
    }

    /// Which partitions have stood still for too long, and why.
    pub(crate) fn look(
        &mut self,
        partitions: impl IntoIterator<Item = (i32, Movement)>,
        now: Instant,
    ) -> Verdict {
        let last = self.looked_at.replace(now);
        if last.is_some_and(|last| now.saturating_duration_since(last) > LOOKS_TOO_FAR_APART) {
            self.forget();
        }
        let still_before = std::mem::take(&mut self.still_since);
        let away_before = std::mem::take(&mut self.out_of_reach_since);
        let is_long = |since: Instant| now.saturating_duration_since(since) >= self.patience;
        let mut standing = Vec::new();
        for (partition, movement) in partitions {
            let out_of_reach = match movement.reach {
                Reach::Connected => None,
                Reach::NoLeader => Some(Standstill::NoLeader),
                Reach::BrokerAway(broker) => Some(Standstill::BrokerAway(broker)),
            };
            if let Some(cause) = out_of_reach {
                let since = away_before.get(&partition).copied().unwrap_or(now);
                self.out_of_reach_since.insert(partition, since);
                if is_long(since) {
                    standing.push((partition, cause));
                }
            }
            // What cannot be fetched has its own cause; what was read of it before ends all the same.
            let cause = match movement.work {
                Work::Unfinished => Standstill::CallsDoNotEnd,
                Work::Unread if out_of_reach.is_none() => Standstill::NotFetched,
                Work::Unread | Work::Nothing => continue,
            };
            if !movement.moved && !movement.waits_on_purpose {
                let since = still_before.get(&partition).copied().unwrap_or(now);
                self.still_since.insert(partition, since);
                if is_long(since) {
                    standing.push((partition, cause));
                }
            }
        }
        let leave = self.others_could_do_better(&standing, now);
        Verdict { standing, leave }
    }

    fn others_could_do_better(&mut self, standing: &[(i32, Standstill)], now: Instant) -> bool {
        let mut leave = false;
        for (_, cause) in standing {
            match cause {
                Standstill::CallsDoNotEnd => leave = true,
                Standstill::NoLeader => {}
                Standstill::NotFetched => leave |= gives_a_chance(&mut self.left_for_a_new_client_at, now),
                Standstill::BrokerAway(_) => leave |= gives_a_chance(&mut self.left_for_a_broker_at, now),
            }
        }
        leave
    }
}

/// Whether to leave, unless it was left for the same a while ago: then others had their chance.
fn gives_a_chance(left_at: &mut Option<Instant>, now: Instant) -> bool {
    let had_it = left_at
        .is_some_and(|at| at < now && now.saturating_duration_since(at) < LEAVES_TO_HAVE_IT_READ_AGAIN_AFTER);
    if !had_it {
        *left_at = Some(now);
    }
    !had_it
}

#[cfg(test)]
#[path = "watchdog_tests.rs"]
mod tests;
