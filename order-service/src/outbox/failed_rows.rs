//! # Failed rows
//!
//! The rows whose event Kafka, or the producer, has refused. Each waits before it is tried again, a little
//! longer every time, and holds up its key meanwhile: a later event of the key must not overtake it. As long as
//! there is one, an alarm is active; it ends when the last of them was acknowledged, moved to quarantine, or is gone from the table.
//!
//! Pure data: the time is passed in.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// 100 ms doubled six times is beyond the longest wait.
const MOST_DOUBLINGS: u32 = 6;

#[derive(Debug)]
struct Failure {
    attempts: u32,
    not_before: Instant,
}

/// The rows that failed and are still to be published.
#[derive(Debug, Default)]
pub struct FailedRows {
    rows: HashMap<i64, Failure>,
}

impl FailedRows {
    /// The row failed once more.
    pub fn failed(&mut self, seq: i64, now: Instant) {
        let attempts = self.rows.get(&seq).map_or(0, |failure| failure.attempts);
        let wait = (FIRST_WAIT * 2_u32.pow(attempts.min(MOST_DOUBLINGS))).min(LONGEST_WAIT);
        self.rows.insert(seq, Failure { attempts: attempts.saturating_add(1), not_before: now + wait });
    }

    /// The row was acknowledged, or moved to quarantine.
    pub fn acknowledged(&mut self, seq: i64) {
        self.rows.remove(&seq);
    }

    /// Whether it is too early to try this row again.
    pub fn must_wait(&self, seq: i64, now: Instant) -> bool {
        self.rows.get(&seq).is_some_and(|failure| now < failure.not_before)
    }

    /// The table was read as a whole: rows that are not in it any more have been removed by somebody else.
    pub fn retain(&mut self, seen: &HashSet<i64>) {
        self.rows.retain(|seq, _| seen.contains(seq));
    }

    /// Whether every row goes through.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_waits_longer_each_time_and_never_beyond_the_longest_wait() {
        let (mut failed, now) = (FailedRows::default(), Instant::now());
        for wait in [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            failed.failed(1, now);
            assert!(failed.must_wait(1, now + Duration::from_millis(wait - 1)), "{wait}");
            assert!(!failed.must_wait(1, now + Duration::from_millis(wait)), "{wait}");
        }
        assert!(!failed.must_wait(2, now));
    }

    #[test]
    fn it_is_over_when_the_row_is_acknowledged_or_gone() {
        let (mut failed, now) = (FailedRows::default(), Instant::now());
        failed.failed(1, now);
        failed.failed(2, now);
        failed.acknowledged(1);
        assert!(!failed.is_empty());
        failed.retain(&HashSet::from([3]));
        assert!(failed.is_empty());
    }
}
