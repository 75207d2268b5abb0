//! # Blame
//!
//! Whether a record that goes on failing is at fault itself. An outage is not: so a failure counts against a record only
//! if the platform was well and had taken other records since this one's failure before. A record is at fault once enough
//! of these came, over a long enough time (`what_fails_while_nothing_else_succeeds_is_never_at_fault`), and the last
//! failure is one of them: an outage does not complete the time (`an_outage_condemns_nobody_for_what_came_before_it`).

use std::time::{Duration, Instant};

use serde::Deserialize;

/// When a record that goes on failing is given up: the settings `[delivery.give_up]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlameRules {
    /// After so many failures that count against it.
    pub failures: u32,
    /// And so long after the first of them.
    #[serde(rename = "after", with = "humantime_serde")]
    pub time: Duration,
}

/// What became of the calls for one record so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attempts {
    failures: u32,
    first_failure: Option<Instant>,
    /// Those while the platform was well.
    while_well: u32,
    /// Those of them with others taken since the one before.
    counted: u32,
    first_counted: Option<Instant>,
    last_counted: Option<Instant>,
    /// How many records the platform had taken at the last failure.
    taken_then: u64,
    last_was_beside_others: bool,
}

impl Attempts {
    /// How many calls have failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// How many of them came while the platform was well.
    pub(crate) fn failures_while_well(&self) -> u32 {
        self.while_well
    }

    pub(crate) fn first_failure(&self) -> Option<Instant> {
        self.first_failure
    }

    /// One more has failed. `taken` is how many records the platform has taken so far.
    pub(crate) fn failed(&mut self, taken: u64, platform_is_well: bool, now: Instant) {
        self.last_was_beside_others = self.failures > 0 && taken > self.taken_then;
        self.failures = self.failures.saturating_add(1);
        self.first_failure.get_or_insert(now);
        self.taken_then = taken;
        self.while_well = self.while_well.saturating_add(u32::from(platform_is_well));
        if platform_is_well && self.last_was_beside_others {
            self.counted = self.counted.saturating_add(1);
            self.first_counted.get_or_insert(now);
            self.last_counted = Some(now);
        }
    }

    /// Whether others were taken between the last failure and the one before.
    pub(crate) fn last_was_beside_others(&self) -> bool {
        self.last_was_beside_others
    }

    /// Asked after the failure at `now` was noted.
    pub(crate) fn show_a_fault(&self, rules: &BlameRules, now: Instant) -> bool {
        let long_enough =
            self.first_counted.is_some_and(|first| now.saturating_duration_since(first) >= rules.time);
        self.counted >= rules.failures && long_enough && self.last_counted == Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BlameRules = BlameRules { failures: 3, time: Duration::from_secs(10) };

    #[test]
    fn what_fails_while_nothing_else_succeeds_is_never_at_fault() {
        let start = Instant::now();
        let mut attempts = Attempts::default();
        for second in 0..1_000 {
            let now = start + Duration::from_secs(second);
            attempts.failed(5, true, now);
            assert!(!attempts.show_a_fault(&RULES, now));
        }
    }

    #[test]
    fn what_fails_while_the_platform_is_not_well_is_not_at_fault() {
        let start = Instant::now();
        let mut attempts = Attempts::default();
        for second in 0..1_000 {
            let now = start + Duration::from_secs(second);
            attempts.failed(second, false, now);
            assert!(!attempts.show_a_fault(&RULES, now));
        }
    }

    #[test]
    fn an_outage_condemns_nobody_for_what_came_before_it() {
        let start = Instant::now();
        let mut attempts = Attempts::default();
        for (taken, second, is_well) in
            [(0, 0, true), (1, 1, true), (2, 2, true), (3, 3, true), (3, 60, true), (4, 90, false)]
        {
            let now = start + Duration::from_secs(second);
            attempts.failed(taken, is_well, now);
            assert!(!attempts.show_a_fault(&RULES, now), "after {second} s");
        }
        let afterwards = start + Duration::from_secs(100);
        attempts.failed(5, true, afterwards);
        assert!(attempts.show_a_fault(&RULES, afterwards));
    }

    #[test]
    fn what_fails_while_others_succeed_is_at_fault_after_enough_failures_and_enough_time() {
        let start = Instant::now();
        let mut attempts = Attempts::default();
        let mut at_fault = Vec::new();
        for second in 0..12 {
            let now = start + Duration::from_secs(second);
            attempts.failed(second, true, now);
            at_fault.push(attempts.show_a_fault(&RULES, now));
        }
        assert_eq!(at_fault.iter().position(|fault| *fault), Some(11), "10 s after the first that counts");
        let mut few = Attempts::default();
        for (taken, second) in [(0, 0), (1, 100), (2, 200)] {
            few.failed(taken, true, start + Duration::from_secs(second));
        }
        assert!(!few.show_a_fault(&RULES, start + Duration::from_secs(200)), "long, but only twice");
    }
}
