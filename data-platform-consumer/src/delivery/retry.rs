//! # Retry
//!
//! When a failed delivery is tried again, as data: no clock, no sleeping, no randomness. The wait doubles from
//! the first to the longest, and each record waits between half of it and all of it. Where in between
//! follows from the record's position and the attempt, so that records that failed together do not return
//! together, and a test can say what it expects.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::Deserialize;

/// The settings `[delivery.retry]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// About how long to wait after the first failure.
    #[serde(with = "humantime_serde")]
    pub first_wait: Duration,
    /// The wait never grows beyond this.
    #[serde(with = "humantime_serde")]
    pub longest_wait: Duration,
}

impl RetryPolicy {
    /// How long the record at this position waits after so many failures in a row.
    pub(crate) fn wait(&self, failures: u32, partition: i32, offset: i64) -> Duration {
        let whole = doubled(self.first_wait, self.longest_wait, failures);
        let half = whole / 2;
        half + half * spread(failures, partition, offset) / u32::from(u16::MAX)
    }
}

/// The wait after so many failures in a row: `first`, then twice as long each time, up to `longest`.
pub(super) fn doubled(first: Duration, longest: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    first.saturating_mul(1 << doublings).min(longest)
}

/// Evenly spread over 0 to 65,535.
fn spread(failures: u32, partition: i32, offset: i64) -> u32 {
    let mut hasher = DefaultHasher::new();
    (failures, partition, offset).hash(&mut hasher);
    let [first, second, ..] = hasher.finish().to_be_bytes();
    u32::from(u16::from_be_bytes([first, second]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { first_wait: Duration::from_millis(200), longest_wait: Duration::from_secs(30) };

    #[test]
    fn records_that_failed_together_do_not_return_together() {
        let mut waits: Vec<Duration> = (0..100).map(|offset| POLICY.wait(3, 0, offset)).collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 90, "{} different waits", waits.len());
        let (shortest, longest) = (waits[0], waits[waits.len() - 1]);
        assert!(longest > shortest + Duration::from_millis(300), "{shortest:?} to {longest:?}");
    }

    proptest! {
        #[test]
        fn the_wait_doubles_up_to_the_longest(failures in 1..u32::MAX, partition in any::<i32>(), offset in any::<i64>()) {
            let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX).max(1);
            let whole = if failures > 20 { POLICY.longest_wait } else { (POLICY.first_wait * factor).min(POLICY.longest_wait) };
            let wait = POLICY.wait(failures, partition, offset);
            prop_assert!(wait >= whole / 2 && wait <= whole, "{:?} after {} failures", wait, failures);
        }
    }
}
