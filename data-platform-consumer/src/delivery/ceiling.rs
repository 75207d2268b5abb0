//! # The ceiling of dead letters
//!
//! A record or two can be at fault; when it is a hundred of them, something else is: a release that writes what
//! nobody understands, a platform that rejects everything. Parking goes on until the ceiling then, and not further:
//! the partition stops, and stays stopped, over restarts too, until an operator says that it may go on. Else it
//! would empty the topic into the dead letters.
//!
//! One ceiling belongs to one assignment of one partition, and is pure data. How many dead letters there are already is
//! asked of the dead-letter topic when the first record of the assignment is at fault: most never ask.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// How long to wait before asking the dead-letter topic again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The settings `[delivery.dead_letter_ceiling]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeilingRules {
    /// So many dead letters of one partition,
    pub count: usize,
    /// within so long a time.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

/// What the end of the partition's dead letters shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecentDeadLetters {
    /// How long ago each was parked: those within the window, since an operator let parking go on for the last time.
    pub(crate) ages: Vec<Duration>,
    /// The offset behind the last of them.
    pub(crate) end: i64,
    /// The offset of the last word of an operator that parking may go on.
    pub(crate) resumed_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    Asking,
    /// Not known, or not any more, and to be asked for from this time on.
    AskAt(Instant),
    Known,
}

/// What may be done with a record at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    Park,
    /// The dead-letter topic is to be asked first. It is asked once.
    Ask,
    /// Not now; it may be worth another look at this time.
    Wait(Option<Instant>),
}

#[derive(Debug)]
pub(crate) struct Ceiling {
    rules: CeilingRules,
    knowledge: Knowledge,
    parked: VecDeque<Instant>,
    /// The end of the dead letters when the ceiling was reached.
    reached_at: Option<i64>,
    /// The end of the dead letters as last seen.
    end: i64,
}

impl Ceiling {
    /// `reached_at` is what an earlier assignment has left behind.
    pub(crate) fn new(rules: CeilingRules, reached_at: Option<i64>, now: Instant) -> Self {
        let knowledge = Knowledge::AskAt(now);
        Self { rules, knowledge, parked: VecDeque::new(), reached_at, end: 0 }
    }

    /// The end of the dead letters when the ceiling was reached, as long as nobody has let parking go on since.
    pub(crate) fn reached_at(&self) -> Option<i64> {
        self.reached_at
    }

    /// Whether one more record may be parked now. It counts from then on.
    pub(crate) fn ask_to_park(&mut self, now: Instant) -> Permission {
        if let Some(not_yet) = self.find_out(now) {
            return not_yet;
        }
        while self.parked.front().is_some_and(|at| now.saturating_duration_since(*at) >= self.rules.window) {
            self.parked.pop_front();
        }
        if self.parked.len() < self.rules.count {
            self.parked.push_back(now);
            return Permission::Park;
        }
        self.reached_at = Some(self.end);
        self.knowledge = Knowledge::AskAt(now + ASK_AGAIN_AFTER);
        Permission::Wait(Some(now + ASK_AGAIN_AFTER))
    }

    /// What to do first, unless it is known how many dead letters there are. Where the ceiling was reached it is looked,
    /// too, whether an operator lets parking go on, with nothing to park.
    pub(crate) fn find_out(&mut self, now: Instant) -> Option<Permission> {
        match self.knowledge {
            Knowledge::Known => None,
            Knowledge::Asking => Some(Permission::Wait(None)),
            Knowledge::AskAt(at) if at > now => Some(Permission::Wait(Some(at))),
            Knowledge::AskAt(_) => {
                self.knowledge = Knowledge::Asking;
                Some(Permission::Ask)
            }
        }
    }

    /// One was parked, at this offset of the dead letters.
    pub(crate) fn parked(&mut self, offset: i64) {
        self.end = self.end.max(offset + 1);
    }

    /// What the dead-letter topic has shown.
    pub(crate) fn seen(&mut self, recent: &RecentDeadLetters, now: Instant) {
        self.end = self.end.max(recent.end);
        if let Some(reached_at) = self.reached_at
            // Behind a topic that was created anew even an old word is a new one.
            && recent.resumed_at.is_none_or(|resumed_at| resumed_at < reached_at && recent.end >= reached_at)
        {
            self.knowledge = Knowledge::AskAt(now + ASK_AGAIN_AFTER);
            return;
        }
        self.reached_at = None;
        self.knowledge = Knowledge::Known;
        // What is older than this clock itself is at least as old as the clock.
        let mut parked: Vec<Instant> =
            recent.ages.iter().map(|age| now.checked_sub(*age).unwrap_or(now)).collect();
        parked.sort_unstable();
        self.parked = parked.into();
    }

    /// The dead-letter topic could not be asked.
    pub(crate) fn unanswered(&mut self, now: Instant) {
        self.knowledge = Knowledge::AskAt(now + ASK_AGAIN_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CeilingRules = CeilingRules { count: 3, window: Duration::from_mins(1) };
    const NOTHING: RecentDeadLetters = RecentDeadLetters { ages: vec![], end: 0, resumed_at: None };

    fn second(start: Instant, second: u64) -> Instant {
        start + Duration::from_secs(second)
    }

    fn asked(reached_at: Option<i64>, now: Instant) -> Ceiling {
        let mut ceiling = Ceiling::new(RULES, reached_at, now);
        assert_eq!(ceiling.ask_to_park(now), Permission::Ask);
        assert_eq!(ceiling.ask_to_park(now), Permission::Wait(None), "it is asked once");
        ceiling
    }

    #[test]
    fn so_many_are_parked_within_the_window_and_no_more() {
        let now = Instant::now();
        let mut ceiling = asked(None, now);
        ceiling.seen(&NOTHING, now);
        for offset in 0..3 {
            assert_eq!(ceiling.ask_to_park(now), Permission::Park);
            ceiling.parked(offset);
        }
        assert_eq!(ceiling.reached_at(), None);
        assert!(matches!(ceiling.ask_to_park(now), Permission::Wait(Some(_))));
        assert_eq!(ceiling.reached_at(), Some(3));
    }

    #[test]
    fn parking_that_is_slow_enough_never_reaches_it() {
        let start = Instant::now();
        let mut ceiling = asked(None, start);
        ceiling.seen(&NOTHING, start);
        for parked in 0..100 {
            assert_eq!(ceiling.ask_to_park(second(start, parked * 20)), Permission::Park);
        }
    }

    #[test]
    fn what_earlier_assignments_have_parked_counts() {
        let now = second(Instant::now(), 100);
        let mut ceiling = asked(None, now);
        let ages = [50, 70, 10].map(Duration::from_secs).to_vec();
        ceiling.seen(&RecentDeadLetters { ages, end: 9, resumed_at: None }, now);
        assert_eq!(ceiling.ask_to_park(now), Permission::Park);
        assert!(matches!(ceiling.ask_to_park(now), Permission::Wait(_)));
        assert_eq!(ceiling.reached_at(), Some(9));
    }

    #[test]
    fn once_reached_it_stays_so_over_restarts_and_any_time_until_an_operator_lets_parking_go_on() {
        let mut now = Instant::now();
        let mut ceiling = asked(Some(5), now);
        for resumed_at in [None, Some(4)] {
            ceiling.seen(&RecentDeadLetters { ages: vec![], end: 5, resumed_at }, now);
            let Permission::Wait(Some(later)) = ceiling.ask_to_park(now) else { panic!("it waits") };
            assert_eq!(ceiling.reached_at(), Some(5));
            now = later + RULES.window;
            assert_eq!(ceiling.ask_to_park(now), Permission::Ask);
        }
        ceiling.seen(&RecentDeadLetters { ages: vec![], end: 6, resumed_at: Some(5) }, now);
        assert_eq!((ceiling.reached_at(), ceiling.ask_to_park(now)), (None, Permission::Park));
    }

    #[test]
    fn a_topic_that_does_not_answer_is_asked_again_and_nothing_is_parked() {
        let now = Instant::now();
        let mut ceiling = asked(None, now);
        ceiling.unanswered(now);
        let Permission::Wait(Some(later)) = ceiling.ask_to_park(now) else { panic!("it waits") };
        assert_eq!(ceiling.ask_to_park(later), Permission::Ask);
    }
}
