//! # Settings of the relay

use super::Settings;
use super::topics::Retention;
use serde::{Deserialize, Deserializer, de};
use service_chassis::settings::{SettingsError, SettingsReport};
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

const UNLIMITED: &str = "unlimited";
/// A hundred years.
const LONGEST_QUARANTINE: Retention = Retention::Milliseconds(36_500 * 86_400_000);

/// Section `relay`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelaySettings {
    /// Whether this instance takes part in publishing: it publishes, or stands by for whoever does.
    pub enabled: bool,
    /// How long the one that publishes may do so without asking again.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Rows of one read.
    pub batch_rows: i64,
    /// Bytes of payload of one read.
    pub batch_bytes: i64,
    /// Longest rest.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// Most events on their way.
    pub max_in_flight: usize,
    /// Most bytes of payload on their way.
    pub max_in_flight_bytes: usize,
    /// When an event is left behind.
    #[serde(with = "humantime_serde")]
    pub straggler_after: Duration,
    /// When the oldest pending event is worth an alarm.
    #[serde(with = "humantime_serde")]
    pub alarm_after: Duration,
    /// How much of the disk pending events may take before that is worth an alarm.
    pub alarm_above_bytes: u64,
    /// Longest wait for the last acknowledgements.
    #[serde(with = "humantime_serde")]
    pub flush_timeout: Duration,
    /// How fast a backlog is published beside orders.
    pub backlog_rate: BacklogRate,
    /// How long refused rows stay in quarantine.
    pub quarantine_retention: Retention,
}

/// Events in a second, or as many as go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogRate(Option<NonZeroU32>);

impl BacklogRate {
    /// None: without a limit.
    pub fn events_per_second(self) -> Option<u32> {
        self.0.map(NonZeroU32::get)
    }
}

impl<'de> Deserialize<'de> for BacklogRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rate;
        impl de::Visitor<'_> for Rate {
            type Value = BacklogRate;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "events in a second, at least 1, or \"{UNLIMITED}\"")
            }

            fn visit_i64<E: de::Error>(self, rate: i64) -> Result<BacklogRate, E> {
                let rate = u32::try_from(rate).ok().and_then(NonZeroU32::new);
                rate.map(|rate| BacklogRate(Some(rate))).ok_or_else(|| {
                    E::custom(format!(
                        "must be from 1 to {} events in a second, or \"{UNLIMITED}\"",
                        u32::MAX
                    ))
                })
            }

            fn visit_u64<E: de::Error>(self, rate: u64) -> Result<BacklogRate, E> {
                self.visit_i64(i64::try_from(rate).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<BacklogRate, E> {
                match text.parse::<i64>() {
                    _ if text == UNLIMITED => Ok(BacklogRate(None)),
                    Ok(rate) => self.visit_i64(rate),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Rate)
    }
}

/// The rules of this section.
pub(super) fn check(settings: &Settings, report: &SettingsReport) -> Result<(), SettingsError> {
    let relay = &settings.relay;
    let must =
        |holds: bool, key: &str, reason: &str| if holds { Ok(()) } else { Err(report.reject(key, reason)) };
    for (timeout, key) in [
        (relay.lease, "relay.lease"),
        (relay.poll_interval, "relay.poll_interval"),
        (relay.straggler_after, "relay.straggler_after"),
        (relay.flush_timeout, "relay.flush_timeout"),
    ] {
        must(timeout >= Duration::from_millis(1), key, "must be at least 1ms: 0 would switch it off")?;
        must(timeout <= Duration::from_hours(1), key, "must be at most 1h")?;
    }
    must(
        relay.lease >= Duration::from_millis(100),
        "relay.lease",
        "must be at least 100ms: a database that is busy for a moment would change who publishes",
    )?;
    must(
        relay.backlog_rate.events_per_second().is_none_or(|rate| rate >= 100),
        "relay.backlog_rate",
        "must be at least 100 events in a second, or \"unlimited\"",
    )?;
    must(
        relay.quarantine_retention >= Retention::Milliseconds(60_000),
        "relay.quarantine_retention",
        "must be at least 1m: nobody could look at a row before it is discarded",
    )?;
    must(
        relay.quarantine_retention <= LONGEST_QUARANTINE
            || relay.quarantine_retention == Retention::Unlimited,
        "relay.quarantine_retention",
        "must be at most 36500d (a hundred years), or \"unlimited\": the database knows no time that long ago",
    )?;
    must(relay.batch_rows > 0, "relay.batch_rows", "must be at least 1")?;
    must(relay.batch_bytes > 0, "relay.batch_bytes", "must be at least 1")?;
    must(
        (1..=50_000).contains(&relay.max_in_flight),
        "relay.max_in_flight",
        "must be from 1 to 50000, half of what the producer's queue takes",
    )?;
    must(relay.max_in_flight_bytes > 0, "relay.max_in_flight_bytes", "must be at least 1")?;
    must(
        usize::try_from(relay.alarm_above_bytes).is_ok_and(|bytes| bytes > relay.max_in_flight_bytes),
        "relay.alarm_above_bytes",
        "must be more than relay.max_in_flight_bytes: what is on its way is no backlog",
    )
}
