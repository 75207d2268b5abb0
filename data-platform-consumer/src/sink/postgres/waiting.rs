//! # What is told while something is waited for
//!
//! Once why it waits, again when that changes, and now and then that it still does: not a line for each attempt.

use std::time::{Duration, Instant};

const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What was told last, and when.
#[derive(Debug, Default)]
pub(super) struct Telling {
    last: Option<(String, Instant)>,
}

impl Telling {
    /// Whether this cause is to be told now; it is taken to be.
    pub(super) fn is_due(&mut self, cause: &str, now: Instant) -> bool {
        let told = self
            .last
            .as_ref()
            .is_some_and(|(last, at)| last == cause && now.saturating_duration_since(*at) < AGAIN_AFTER);
        if !told {
            self.last = Some((cause.to_owned(), now));
        }
        !told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_and_again_when_it_changes_or_lasts() {
        let (mut telling, begin) = (Telling::default(), Instant::now());
        let mut due = |cause, seconds| telling.is_due(cause, begin + Duration::from_secs(seconds));
        assert!(due("refused", 0));
        assert!(!due("refused", 1) && !due("refused", 9));
        assert!(due("starting", 9));
        assert!(!due("starting", 18));
        assert!(due("starting", 19));
    }
}
