//! # Settings
//!
//! The types behind `config/default.toml`, which is their documentation, and the rules between them, checked
//! when they are loaded.

use std::time::Duration;

use serde::Deserialize;
use service_chassis::management::ManagementSettings;
use service_chassis::settings::{
    ADDRESS_LIST_RULE, Loaded, Properties, SettingsError, SettingsReport, SettingsSource, is_address_list,
    unavailable_kafka_security,
};
use service_chassis::telemetry::LogSettings;
use shared_messages::topics;

use crate::consumer_group::{self, RESERVED_PROPERTIES, RefusedByClient};
use crate::delivery::RetryPolicy;
use crate::delivery::blame::BlameRules;
use crate::delivery::breaker::{BreakerRules, LONGEST_RETRY_AFTER};
use crate::delivery::ceiling::CeilingRules;
use crate::sink::{self, SinkRefused, SinkSettings};

/// The commented defaults, compiled in.
pub const DEFAULTS: &str = include_str!("../config/default.toml");
/// What the names of environment variables start with.
pub const ENVIRONMENT_PREFIX: &str = "DATA_PLATFORM_CONSUMER";

/// librdkafka keeps its times as milliseconds in 32 bits, and takes none above this.
const LONGEST_SESSION: Duration = Duration::from_hours(1);
const LONGEST_POLL_INTERVAL: Duration = Duration::from_hours(24);

/// A request to a broker and its answer, with a margin.
const SHORTEST_LOOK_UP: Duration = Duration::from_millis(100);

/// All settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What to read.
    pub kafka: KafkaSettings,
    /// How it is delivered.
    pub delivery: DeliverySettings,
    /// Where to.
    pub sink: SinkSettings,
    /// The port for probes.
    pub management: ManagementSettings,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// The settings `[kafka]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// `HOST:PORT`, several separated by commas.
    pub bootstrap_servers: String,
    /// The topic of completed orders.
    pub topic: String,
    /// Members of one group share the partitions.
    pub group_id: String,
    /// This member's name in the group, for static membership; empty for none.
    pub group_instance_id: String,
    /// After so long without a heartbeat a member has lost its partitions.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// How often a member is heard of.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// After so long without a poll a member leaves.
    #[serde(with = "humantime_serde")]
    pub max_poll_interval: Duration,
    /// How often finished work is committed.
    #[serde(with = "humantime_serde")]
    pub commit_interval: Duration,
    /// How long looking up committed positions may take.
    #[serde(with = "humantime_serde")]
    pub position_timeout: Duration,
    /// How long the last commit and leaving the group may take.
    #[serde(with = "humantime_serde")]
    pub close_timeout: Duration,
    /// For librdkafka, as it is.
    pub properties: Properties,
}

/// The settings `[delivery]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverySettings {
    /// How many records may be on their way at a time.
    pub in_flight_limit: usize,
    /// How far a partition may run ahead of its committable position.
    pub window: u64,
    /// How many bytes a partition's records may be together that were read and are not finished.
    pub window_bytes: u64,
    /// How long calls may take to end when partitions are handed back.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// After so long without any movement of a partition that has work this member leaves the group.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
    /// When a failed delivery is tried again.
    pub retry: RetryPolicy,
    /// When a record that goes on failing becomes a dead letter.
    pub give_up: BlameRules,
    /// What is done while most records fail.
    pub breaker: BreakerRules,
    /// How many dead letters are too many.
    pub dead_letter_ceiling: CeilingRules,
}

impl KafkaSettings {
    /// Where records at fault go.
    pub fn dead_letter_topic(&self) -> String {
        topics::dead_letter_topic(&self.topic)
    }
}

/// Loads the settings and checks the rules between them.
pub fn load(source: &SettingsSource) -> Result<Loaded<Settings>, SettingsError> {
    let loaded = service_chassis::settings::load(source)?;
    check(&loaded.settings, &loaded.report)?;
    Ok(loaded)
}

/// The rules that no single setting can tell.
pub(crate) fn check(settings: &Settings, report: &SettingsReport) -> Result<(), SettingsError> {
    if let Some((key, reason)) = broken_rule(settings) {
        return Err(report.reject(&key, reason));
    }
    let Settings { kafka, delivery, sink, .. } = settings;
    sink::check(sink).map_err(|refused| refused_sink(report, &refused))?;
    consumer_group::check_properties(kafka, delivery).map_err(|cause| refused(report, &cause))
}

/// What librdkafka refuses is a fault in the settings too.
pub(crate) fn refused(report: &SettingsReport, refused: &RefusedByClient) -> SettingsError {
    let RefusedByClient { property, reason } = refused;
    match property {
        Some(property) => report.reject(&format!("kafka.properties.{property}"), reason),
        None => SettingsError::Rejected {
            key: "kafka".to_owned(),
            origin: "as a whole".to_owned(),
            reason: reason.clone(),
        },
    }
}

/// What a sink cannot work with is a fault in the settings, too.
pub(crate) fn refused_sink(report: &SettingsReport, refused: &SinkRefused) -> SettingsError {
    report.reject(&refused.key, refused.reason.clone())
}

/// A rule: whether it holds, the setting to change where it does not, and why.
type Rule = (bool, &'static str, &'static str);

fn broken_rule(settings: &Settings) -> Option<(String, String)> {
    let Settings { kafka, delivery, sink, .. } = settings;
    let reserved = kafka.properties.iter().find(|(key, _)| RESERVED_PROPERTIES.contains(key));
    if let Some((key, _)) = reserved {
        let reason = "it has a setting of its own, or the promises of this service hang on it";
        return Some((format!("kafka.properties.{key}"), reason.to_owned()));
    }
    if let Some((property, reason)) =
        unavailable_kafka_security(&kafka.properties, cfg!(feature = "kafka-tls"))
    {
        return Some((format!("kafka.properties.{property}"), reason.to_owned()));
    }
    let rules = names(kafka)
        .into_iter()
        .chain(times(kafka, delivery))
        .chain(limits(delivery))
        .chain([longest_call(delivery, sink)]);
    let (_, key, reason) = rules.into_iter().find(|(holds, ..)| !holds)?;
    Some((key.to_owned(), reason.to_owned()))
}

/// A call that takes its time is not one that stands still.
fn longest_call(delivery: &DeliverySettings, sink: &SinkSettings) -> Rule {
    (
        sink.longest_call() < delivery.stall_timeout,
        "delivery.stall_timeout",
        "it must be longer than the longest call of the sink that is in use (its times in [sink] together), or a call \
         that takes its time would count as stalled",
    )
}

fn names(kafka: &KafkaSettings) -> [Rule; 3] {
    let empty = "it must not be empty";
    [
        (is_address_list(&kafka.bootstrap_servers), "kafka.bootstrap_servers", ADDRESS_LIST_RULE),
        (topics::is_name(&kafka.topic), "kafka.topic", topics::NAME_RULE),
        (!kafka.group_id.trim().is_empty(), "kafka.group_id", empty),
    ]
}

fn times(kafka: &KafkaSettings, delivery: &DeliverySettings) -> [Rule; 9] {
    let rebalance = delivery.drain_timeout.saturating_add(kafka.session_timeout);
    [
        (
            kafka.heartbeat_interval >= Duration::from_millis(1),
            "kafka.heartbeat_interval",
            "it must be at least 1ms",
        ),
        (!kafka.commit_interval.is_zero(), "kafka.commit_interval", "it must be longer than nothing"),
        (
            kafka.session_timeout >= kafka.heartbeat_interval.saturating_mul(3),
            "kafka.session_timeout",
            "it must be at least three times kafka.heartbeat_interval, or one lost heartbeat costs the membership",
        ),
        (kafka.session_timeout <= LONGEST_SESSION, "kafka.session_timeout", "it must be at most 1h"),
        (
            kafka.max_poll_interval >= kafka.session_timeout,
            "kafka.max_poll_interval",
            "it must not be shorter than kafka.session_timeout",
        ),
        (
            kafka.max_poll_interval <= LONGEST_POLL_INTERVAL,
            "kafka.max_poll_interval",
            "it must be at most 24h",
        ),
        (
            rebalance <= kafka.max_poll_interval,
            "delivery.drain_timeout",
            "with kafka.session_timeout it must fit into kafka.max_poll_interval, as a rebalance waits for both",
        ),
        (
            kafka.position_timeout >= SHORTEST_LOOK_UP,
            "kafka.position_timeout",
            "it must be at least 100ms, or no position would ever be known, and no partition be taken over",
        ),
        (
            kafka.position_timeout <= kafka.max_poll_interval / 2,
            "kafka.position_timeout",
            "it must be at most half of kafka.max_poll_interval",
        ),
    ]
}

fn limits(delivery: &DeliverySettings) -> [Rule; 14] {
    let DeliverySettings { retry, breaker, give_up, dead_letter_ceiling, .. } = delivery;
    [
        (delivery.in_flight_limit > 0, "delivery.in_flight_limit", "it must be at least 1"),
        (
            usize::try_from(delivery.window).map_or(true, |window| window >= delivery.in_flight_limit),
            "delivery.window",
            "it must not be smaller than delivery.in_flight_limit, or one partition could never use the limit",
        ),
        (delivery.window >= 2, "delivery.window", "it must be at least 2: intake resumes at half of it"),
        (delivery.window_bytes >= 1024, "delivery.window_bytes", "it must be at least 1024"),
        (!retry.first_wait.is_zero(), "delivery.retry.first_wait", "it must be longer than nothing"),
        (
            retry.longest_wait >= retry.first_wait,
            "delivery.retry.longest_wait",
            "it must not be shorter than delivery.retry.first_wait",
        ),
        (
            delivery.stall_timeout > retry.longest_wait,
            "delivery.stall_timeout",
            "it must be longer than delivery.retry.longest_wait, or a record that waits for its retry would count as stalled",
        ),
        (give_up.failures > 0, "delivery.give_up.failures", "it must be at least 1"),
        (breaker.records >= 2, "delivery.breaker.records", "it must be at least 2"),
        (!breaker.first_wait.is_zero(), "delivery.breaker.first_wait", "it must be longer than nothing"),
        (
            breaker.longest_wait >= breaker.first_wait,
            "delivery.breaker.longest_wait",
            "it must not be shorter than delivery.breaker.first_wait",
        ),
        (
            breaker.longest_retry_after <= LONGEST_RETRY_AFTER,
            "delivery.breaker.longest_retry_after",
            "it must be at most 1h",
        ),
        (
            dead_letter_ceiling.count > 0,
            "delivery.dead_letter_ceiling.count",
            "it must be at least 1, or the first record at fault would stop its partition",
        ),
        (
            !dead_letter_ceiling.window.is_zero(),
            "delivery.dead_letter_ceiling.window",
            "it must be longer than nothing",
        ),
    ]
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
