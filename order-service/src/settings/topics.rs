//! Section `topics`: what the topics must be like.

use super::Settings;
use serde::{Deserialize, Deserializer, de};
use service_chassis::settings::{SettingsError, SettingsReport};
use shared_messages::topics::{DEAD_LETTER_SUFFIX, dead_letter_topic, is_name};
use std::fmt;
use std::time::Duration;

/// More than any cluster takes for one topic; a slip of the keyboard.
const MOST_PARTITIONS: i32 = 10_000;
const UNLIMITED: &str = "unlimited";

/// Section `topics`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsSettings {
    /// Partitions, fixed at creation.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication_factor: i32,
    /// Copies that must have an event before it is acknowledged.
    pub min_insync_replicas: i32,
    /// How long events are kept.
    pub retention: Retention,
    /// How long dead letters are kept.
    pub dead_letter_retention: Retention,
    /// Whether a topic that stands with less is taken.
    pub accept_less: bool,
    /// Longest wait for brokers and leaders.
    #[serde(with = "humantime_serde")]
    pub wait_timeout: Duration,
}

/// How long a topic keeps its records; the longer, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retention {
    /// So many milliseconds.
    Milliseconds(i64),
    /// For ever.
    Unlimited,
}

impl Retention {
    /// As Kafka has it: a negative number means for ever.
    pub fn of_milliseconds(milliseconds: i64) -> Self {
        if milliseconds < 0 { Self::Unlimited } else { Self::Milliseconds(milliseconds) }
    }

    /// As Kafka's property `retention.ms` has it.
    pub fn milliseconds(self) -> i64 {
        match self {
            Self::Milliseconds(milliseconds) => milliseconds,
            Self::Unlimited => -1,
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Milliseconds(milliseconds) => {
                let duration = Duration::from_millis(milliseconds.unsigned_abs());
                humantime_serde::re::humantime::format_duration(duration).fmt(f)
            }
            Self::Unlimited => f.write_str(UNLIMITED),
        }
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == UNLIMITED {
            return Ok(Self::Unlimited);
        }
        let duration = humantime_serde::re::humantime::parse_duration(&text).map_err(|error| {
            de::Error::custom(format!("must be a time such as \"7d\", or \"{UNLIMITED}\": {error}"))
        })?;
        i64::try_from(duration.as_millis())
            .map(Self::Milliseconds)
            .map_err(|_| de::Error::custom(format!("is too long: write \"{UNLIMITED}\"")))
    }
}

/// The rules of this section, and those that tie it to others.
pub(super) fn check(settings: &Settings, report: &SettingsReport) -> Result<(), SettingsError> {
    let Settings { kafka, topics, .. } = settings;
    let must =
        |holds: bool, key: &str, reason: &str| if holds { Ok(()) } else { Err(report.reject(key, reason)) };
    must(
        is_name(&dead_letter_topic(&kafka.topic)),
        "kafka.topic",
        &format!(
            "is too long: its topic of dead letters has {DEAD_LETTER_SUFFIX} behind it, 249 characters in all"
        ),
    )?;
    must((1..=MOST_PARTITIONS).contains(&topics.partitions), "topics.partitions", "must be from 1 to 10000")?;
    must(
        (1..=i32::from(i16::MAX)).contains(&topics.replication_factor),
        "topics.replication_factor",
        "must be at least 1, and at most the number of brokers",
    )?;
    must(topics.min_insync_replicas >= 1, "topics.min_insync_replicas", "must be at least 1")?;
    must(
        topics.min_insync_replicas <= topics.replication_factor,
        "topics.min_insync_replicas",
        &format!(
            "must not be more than topics.replication_factor, which is {}: nothing could ever be acknowledged",
            topics.replication_factor
        ),
    )?;
    for (retention, key) in [
        (topics.retention, "topics.retention"),
        (topics.dead_letter_retention, "topics.dead_letter_retention"),
    ] {
        must(retention >= Retention::Milliseconds(1000), key, "must be at least 1s")?;
    }
    must(
        topics.wait_timeout >= Duration::from_secs(1) && topics.wait_timeout <= Duration::from_hours(1),
        "topics.wait_timeout",
        "must be from 1s to 1h",
    )
}

#[cfg(test)]
mod tests {
    use super::Retention;
    use crate::settings::tests::load;
    use service_chassis::exit::sentence;

    #[test]
    fn a_topic_that_could_never_acknowledge_is_refused_with_both_numbers() {
        let told = sentence(&load("TOPICS__REPLICATION_FACTOR", "1").unwrap_err());
        assert!(told.contains("topics.min_insync_replicas"), "{told}");
        assert!(told.contains("topics.replication_factor, which is 1"), "{told}");
    }

    #[test]
    fn numbers_and_times_that_no_topic_can_have_are_refused() {
        for (variable, value, key) in [
            ("TOPICS__PARTITIONS", "0", "topics.partitions"),
            ("TOPICS__PARTITIONS", "-1", "topics.partitions"),
            ("TOPICS__REPLICATION_FACTOR", "0", "topics.replication_factor"),
            ("TOPICS__MIN_INSYNC_REPLICAS", "0", "topics.min_insync_replicas"),
            ("TOPICS__RETENTION", "0s", "topics.retention"),
            ("TOPICS__RETENTION", "for ever", "topics.retention"),
            ("TOPICS__DEAD_LETTER_RETENTION", "1ms", "topics.dead_letter_retention"),
            ("TOPICS__WAIT_TIMEOUT", "0s", "topics.wait_timeout"),
            ("KAFKA__TOPIC", &"x".repeat(246), "kafka.topic"),
        ] {
            let told = sentence(&load(variable, value).unwrap_err());
            assert!(told.contains(key) && told.contains(&format!("ORDER_SERVICE__{variable}")), "{told}");
        }
    }

    #[test]
    fn retention_may_be_unlimited_and_that_is_the_longest() {
        load("TOPICS__RETENTION", "unlimited").unwrap();
        assert!(Retention::of_milliseconds(-1) > Retention::of_milliseconds(i64::MAX));
        assert_eq!(Retention::of_milliseconds(604_800_000).to_string(), "7days");
        assert_eq!(Retention::Unlimited.to_string(), "unlimited");
        assert_eq!(Retention::Unlimited.milliseconds(), -1);
    }
}
