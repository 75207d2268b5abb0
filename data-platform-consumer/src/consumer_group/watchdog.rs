//! # Watchdog
//!
//! Finds a partition that is ours, has something to do, and does not move, though nothing says that it should wait. That
//! is what a client looks like that has stopped fetching, or a call that never ends: no error tells of it, and a lag
//! grows for days. Then this member leaves the group, so that another takes over, and joins again later.
//!
//! Pure data: it is looked at once a second, and told what moved meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How one partition looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Movement {
    /// Anything at all: a record was read, a call ended, well or not, a dead letter was answered for.
    pub(crate) moved: bool,
    /// Records unread, or unfinished.
    pub(crate) has_work: bool,
    /// The platform is away, or an operator must decide.
    pub(crate) waits_on_purpose: bool,
}

#[derive(Debug)]
pub(crate) struct Watchdog {
    patience: Duration,
    still_since: BTreeMap<i32, Instant>,
    looked_at: Option<Instant>,
}

/// Between two looks so far apart this process itself stood still, which says nothing of its work.
const LOOKS_TOO_FAR_APART: Duration = Duration::from_secs(10);

impl Watchdog {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, still_since: BTreeMap::new(), looked_at: None }
    }

    /// Which partitions have stood still for too long.
    pub(crate) fn look(
        &mut self,
        partitions: impl IntoIterator<Item = (i32, Movement)>,
        now: Instant,
    ) -> Vec<i32> {
        let mut before = std::mem::take(&mut self.still_since);
        let last = self.looked_at.replace(now);
        if last.is_some_and(|last| now.saturating_duration_since(last) > LOOKS_TOO_FAR_APART) {
            before.clear();
        }
        for (partition, Movement { moved, has_work, waits_on_purpose }) in partitions {
            if has_work && !moved && !waits_on_purpose {
                self.still_since.insert(partition, before.get(&partition).copied().unwrap_or(now));
            }
        }
        let stalled = self
            .still_since
            .iter()
            .filter(|(_, since)| now.saturating_duration_since(**since) >= self.patience);
        stalled.map(|(partition, _)| *partition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Movement = Movement { moved: false, has_work: true, waits_on_purpose: false };

    #[test]
    fn what_has_work_and_does_not_move_for_long_enough_has_stalled() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let mut watchdog = Watchdog::new(Duration::from_secs(10));
        for second in 0..10 {
            assert_eq!(watchdog.look([(1, STILL), (2, STILL)], at(second)), Vec::<i32>::new());
        }
        let moves = Movement { moved: true, ..STILL };
        assert_eq!(watchdog.look([(1, STILL), (2, moves)], at(10)), [1]);
        assert_eq!(watchdog.look([(2, STILL)], at(11)), Vec::<i32>::new(), "one that is gone is forgotten");
        assert_eq!(watchdog.look([(1, STILL), (2, STILL)], at(20)), Vec::<i32>::new());
        assert_eq!(watchdog.look([(1, STILL), (2, STILL)], at(21)), [2]);
    }

    #[test]
    fn a_process_that_was_frozen_has_not_stalled() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Duration::from_secs(30));
        assert_eq!(watchdog.look([(1, STILL)], start), Vec::<i32>::new());
        let much_later = start + Duration::from_hours(1);
        assert_eq!(watchdog.look([(1, STILL)], much_later), Vec::<i32>::new());
    }

    #[test]
    fn what_has_nothing_to_do_or_waits_on_purpose_has_not() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Duration::from_secs(10));
        let idle = Movement { has_work: false, ..STILL };
        let waits = Movement { waits_on_purpose: true, ..STILL };
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            assert_eq!(watchdog.look([(1, idle), (2, waits)], now), Vec::<i32>::new());
        }
    }
}
