//! How long a job waits: pauses that grow, within a time that is over at some point.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// The last attempt gets this much, even beyond the end: one that is cut short would hide the reason behind its own.
const LAST_ATTEMPT: Duration = Duration::from_secs(2);

/// What is left of a bounded wait.
pub(crate) struct Patience {
    since: Instant,
    limit: Duration,
    pauses: ExponentialBackoff,
}

impl Patience {
    /// It begins `now`.
    pub(crate) fn new(limit: Duration, now: Instant) -> Self {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(SHORTEST)
            .with_max_delay(LONGEST)
            .without_max_times()
            .with_jitter()
            .build();
        Self { since: now, limit, pauses }
    }

    /// How long to wait before the next attempt; nothing when the time is over.
    pub(crate) fn next_pause(&mut self, now: Instant) -> Option<Duration> {
        let left = self.limit.checked_sub(now - self.since).filter(|left| !left.is_zero())?;
        Some(self.pauses.next().unwrap_or(LONGEST).min(left))
    }

    /// What one attempt may take, so that it does not go on for long after the time is over.
    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed()).max(LAST_ATTEMPT)
    }

    /// How long it has lasted.
    pub(crate) fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::Patience;
    use std::time::{Duration, Instant};

    #[test]
    fn patience_ends_at_its_limit_and_not_before() {
        let (begin, limit) = (Instant::now(), Duration::from_secs(30));
        let (mut patience, mut now) = (Patience::new(limit, begin), begin);
        while let Some(pause) = patience.next_pause(now) {
            now += pause;
        }
        assert_eq!(now - begin, limit);
    }
}
