//! # Retention
//!
//! Since when a partition has every record that it was given. Where that is in doubt, an order counts as missing
//! rather than as taken by retention: an alarm that looks is cheaper than a loss that is explained away.

use super::comparison::Kept;
use crate::settings::Retention;
use chrono::{DateTime, TimeDelta, Utc};

/// How a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The lowest offset that it may still have.
    pub low: i64,
    /// The offset of the next record that it is given.
    pub high: i64,
    /// Kafka's time of its oldest record, milliseconds since 1970.
    pub oldest_millis: Option<i64>,
}

/// Since when the partitions have everything; `promised` is the time for which the settings want records kept.
///
/// The oldest record tells it where there is one. A partition that lost *all* its records has only the promise: what is
/// younger than that must still be there, and a topic that keeps less breaks it.
pub fn kept(partitions: &[Partition], promised: Retention, now: DateTime<Utc>) -> Kept {
    let since = |partition: &Partition| {
        if partition.low <= 0 {
            return None;
        }
        let oldest = partition.oldest_millis.and_then(DateTime::from_timestamp_millis);
        oldest.or_else(|| match promised {
            Retention::Milliseconds(millis) => now.checked_sub_signed(TimeDelta::try_milliseconds(millis)?),
            Retention::Unlimited => None,
        })
    };
    Kept(partitions.iter().map(since).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_tells_by_its_oldest_record_and_an_emptied_one_by_the_promise() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let partition = |low, high, oldest_millis| Partition { low, high, oldest_millis };
        let all = [
            partition(0, 0, None),
            partition(0, 9, Some(5_000)),
            partition(3, 9, Some(5_000)),
            partition(9, 9, None),
        ];
        let second = DateTime::from_timestamp(5, 0);
        let hour = Retention::Milliseconds(3_600_000);
        assert_eq!(kept(&all, hour, now).0, [None, None, second, Some(now - TimeDelta::hours(1))]);
        assert_eq!(kept(&all, Retention::Unlimited, now).0, [None, None, second, None]);
    }
}
