//! # Settings of the relay

use super::Settings;
use serde::Deserialize;
use service_chassis::settings::{SettingsError, SettingsReport};
use std::time::Duration;

/// Section `relay`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelaySettings {
    /// Whether this instance publishes, or stands by.
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
    /// Longest wait for the last acknowledgements.
    #[serde(with = "humantime_serde")]
    pub flush_timeout: Duration,
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
    must(relay.batch_rows > 0, "relay.batch_rows", "must be at least 1")?;
    must(relay.batch_bytes > 0, "relay.batch_bytes", "must be at least 1")?;
    must(
        (1..=50_000).contains(&relay.max_in_flight),
        "relay.max_in_flight",
        "must be from 1 to 50000, half of what the producer's queue takes",
    )?;
    must(relay.max_in_flight_bytes > 0, "relay.max_in_flight_bytes", "must be at least 1")
}
