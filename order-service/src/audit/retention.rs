//! # Retention
//!
//! Since when a partition has every record that it was given. Where that is in doubt, an order counts as missing
//! rather than as taken by retention: an alarm that looks is cheaper than a loss that is explained away. So the oldest
//! record explains nothing that the topic's own retention would have kept: records may be deleted by hand, too.

use super::comparison::Kept;
use crate::settings::Retention;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;

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

/// What bounds the records of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// For how long the settings want records kept.
    pub promised: Retention,
    /// For how long the topic itself keeps them, whatever their size; nothing where that is not known, or where it keeps
    /// only so many bytes (`retention.bytes`).
    pub kept_by_time: Option<Retention>,
}

impl Bounds {
    /// By a topic's `retention.ms` and `retention.bytes`.
    pub fn of_topic(promised: Retention, properties: &BTreeMap<String, String>) -> Self {
        let number = |name: &str| properties.get(name).and_then(|value| value.parse::<i64>().ok());
        let is_unbounded = number("retention.bytes").is_some_and(|bytes| bytes < 0);
        let by_time = number("retention.ms").filter(|_| is_unbounded);
        Self { promised, kept_by_time: by_time.map(Retention::of_milliseconds) }
    }
}

/// Since when the partitions have everything.
///
/// The oldest record tells it where there is one, but never for what the topic's retention must still have. A partition
/// that lost *all* its records has only the promises: what is younger than the longer of them must still be there, and a
/// topic that keeps less than the settings want breaks theirs.
pub fn kept(partitions: &[Partition], bounds: Bounds, now: DateTime<Utc>) -> Kept {
    let before = |retention| match retention {
        Retention::Milliseconds(millis) => now.checked_sub_signed(TimeDelta::try_milliseconds(millis)?),
        Retention::Unlimited => None,
    };
    let since = |partition: &Partition| {
        if partition.low <= 0 {
            return None;
        }
        let oldest = partition.oldest_millis.and_then(DateTime::from_timestamp_millis);
        match (oldest, bounds.kept_by_time) {
            (Some(oldest), Some(by_time)) => before(by_time).map(|kept| kept.min(oldest)),
            (Some(oldest), None) => Some(oldest),
            (None, by_time) => before(by_time.unwrap_or(bounds.promised).max(bounds.promised)),
        }
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
        let unknown = |promised| Bounds { promised, kept_by_time: None };
        assert_eq!(kept(&all, unknown(hour), now).0, [None, None, second, Some(now - TimeDelta::hours(1))]);
        assert_eq!(kept(&all, unknown(Retention::Unlimited), now).0, [None, None, second, None]);
    }

    /// Somebody has deleted the records up to offset 3: the oldest that is left is a minute old.
    #[test]
    fn what_the_topics_retention_would_have_kept_is_not_explained_by_its_oldest_record() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let minute_ago = now - TimeDelta::minutes(1);
        let shortened = Partition { low: 3, high: 9, oldest_millis: Some(minute_ago.timestamp_millis()) };
        let emptied = Partition { low: 9, high: 9, oldest_millis: None };
        let promised = Retention::Milliseconds(3_600_000);
        let since = |topic: &[(&str, &str)]| {
            let properties = topic.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let bounds = Bounds::of_topic(promised, &properties.collect());
            kept(&[shortened, emptied], bounds, now).0
        };
        let (hour_ago, day_ago) = (Some(now - TimeDelta::hours(1)), Some(now - TimeDelta::days(1)));
        assert_eq!(since(&[("retention.ms", "86400000"), ("retention.bytes", "-1")]), [day_ago, day_ago]);
        assert_eq!(since(&[("retention.ms", "-1"), ("retention.bytes", "-1")]), [None, None]);
        // It keeps less than the time since its oldest record, whose segment is not yet to be deleted.
        let briefly = since(&[("retention.ms", "1000"), ("retention.bytes", "-1")]);
        assert_eq!(briefly, [Some(minute_ago), hour_ago]);
        // Its size may have taken them, or nobody tells.
        for unclear in [&[("retention.ms", "86400000"), ("retention.bytes", "1000")][..], &[]] {
            assert_eq!(since(unclear), [Some(minute_ago), hour_ago], "{unclear:?}");
        }
    }
}
