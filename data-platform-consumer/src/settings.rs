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
use crate::delivery::breaker::BreakerRules;
use crate::delivery::ceiling::CeilingRules;
use crate::sink::{self, SinkRefused, SinkSettings};

/// The commented defaults, compiled in.
pub const DEFAULTS: &str = include_str!("../config/default.toml");
/// What the names of environment variables start with.
pub const ENVIRONMENT_PREFIX: &str = "DATA_PLATFORM_CONSUMER";

/// librdkafka keeps its times as milliseconds in 32 bits, and takes none above this.
const LONGEST_SESSION: Duration = Duration::from_hours(1);
const LONGEST_POLL_INTERVAL: Duration = Duration::from_hours(24);

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

fn times(kafka: &KafkaSettings, delivery: &DeliverySettings) -> [Rule; 8] {
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
            kafka.position_timeout <= kafka.max_poll_interval / 2,
            "kafka.position_timeout",
            "it must be at most half of kafka.max_poll_interval",
        ),
    ]
}

fn limits(delivery: &DeliverySettings) -> [Rule; 13] {
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
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn with(environment: &[(&str, &str)]) -> Result<Settings, String> {
        let source =
            SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
        let environment = environment.iter().map(|(name, value)| {
            (OsString::from(format!("{ENVIRONMENT_PREFIX}__{name}")), OsString::from(value))
        });
        let loaded: Loaded<Settings> = service_chassis::settings::load_with_environment(&source, environment)
            .map_err(|error| error.to_string())?;
        check(&loaded.settings, &loaded.report).map_err(|error| error.to_string())?;
        Ok(loaded.settings)
    }

    #[test]
    fn the_defaults_are_complete_and_keep_the_rules() {
        let settings = with(&[]).unwrap();
        assert_eq!(settings.kafka.group_id, "data-platform-consumer");
        assert_eq!(settings.kafka.topic, shared_messages::topics::ORDER_COMPLETED);
        assert_eq!((settings.delivery.in_flight_limit, settings.delivery.window), (100, 10_000));
        assert_eq!(settings.sink.log.wait, Duration::from_secs(3));
    }

    #[test]
    fn a_setting_that_breaks_a_rule_is_named() {
        for (name, value, key) in [
            ("DELIVERY__WINDOW", "99", "delivery.window"),
            ("DELIVERY__WINDOW_BYTES", "1023", "delivery.window_bytes"),
            ("DELIVERY__IN_FLIGHT_LIMIT", "0", "delivery.in_flight_limit"),
            ("DELIVERY__DRAIN_TIMEOUT", "10m", "delivery.drain_timeout"),
            ("DELIVERY__RETRY__LONGEST_WAIT", "1ms", "delivery.retry.longest_wait"),
            ("KAFKA__SESSION_TIMEOUT", "8s", "kafka.session_timeout"),
            ("KAFKA__MAX_POLL_INTERVAL", "14s", "kafka.max_poll_interval"),
            ("KAFKA__TOPIC", "^order.*", "kafka.topic"),
            ("KAFKA__BOOTSTRAP_SERVERS", "::::", "kafka.bootstrap_servers"),
            ("KAFKA__PROPERTIES__ENABLE__AUTO__COMMIT", "true", "kafka.properties.enable.auto.commit"),
            ("KAFKA__PROPERTIES__NO__SUCH", "1", "kafka.properties.no.such"),
            ("KAFKA__PROPERTIES__FETCH__MIN__BYTES", "few", "kafka.properties.fetch.min.bytes"),
            ("KAFKA__SESION_TIMEOUT", "9s", "kafka.sesion_timeout"),
            ("SINK__KIND", "ftp", "sink.kind"),
            ("SINK__POSTGRES__URL", "mysql://platform", "sink.postgres.url"),
            ("SINK__POSTGRES__STATEMENT_TIMEOUT", "0s", "sink.postgres.statement_timeout"),
            ("SINK__HTTP__URL", "ftp://platform", "sink.http.url"),
            ("SINK__HTTP__BATCH", "0", "sink.http.batch"),
            ("SINK__HTTP__HEADERS__CONTENT-TYPE", "text/plain", "sink.http.headers.content-type"),
        ] {
            let error = with(&[(name, value)]).unwrap_err();
            assert!(error.contains(key) && error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn a_call_that_takes_its_time_must_not_count_as_stalled() {
        for (kind, name) in [
            ("log", "SINK__LOG__WAIT"),
            ("http", "SINK__HTTP__TIMEOUT"),
            ("postgres", "SINK__POSTGRES__STATEMENT_TIMEOUT"),
        ] {
            let used = ("SINK__KIND", kind);
            let error = with(&[used, (name, "5m")]).unwrap_err();
            assert!(error.contains("delivery.stall_timeout"), "{error}");
            with(&[used, (name, "5m"), ("DELIVERY__STALL_TIMEOUT", "10m")]).unwrap();
        }
    }

    #[test]
    fn what_the_promises_hang_on_cannot_be_handed_through_and_neither_can_its_other_names() {
        for (property, value) in [
            ("allow.auto.create.topics", "true"),
            ("auto.commit.enable", "true"),
            ("auto.offset.reset", "latest"),
            ("bootstrap.servers", "b"),
            ("enable.auto.commit", "true"),
            ("enable.auto.offset.store", "true"),
            ("enable.partition.eof", "true"),
            ("enabled_events", "16"),
            ("group.id", "g"),
            ("group.protocol", "consumer"),
            ("heartbeat.interval.ms", "1"),
            ("max.poll.interval.ms", "1"),
            ("metadata.broker.list", "b"),
            ("offset.store.method", "none"),
            ("partition.assignment.strategy", "range"),
            ("session.timeout.ms", "1"),
            ("statistics.interval.ms", "0"),
            ("test.mock.num.brokers", "1"),
        ] {
            let name = format!("KAFKA__PROPERTIES__{}", property.to_uppercase().replace('.', "__"));
            let error = with(&[(&name, value)]).unwrap_err();
            assert!(error.contains(property) && error.contains("promises"), "{error}");
        }
    }

    #[test]
    fn a_stop_fits_into_the_half_minute_that_an_orchestrator_grants() {
        let Settings { kafka, delivery, .. } = with(&[]).unwrap();
        assert!(delivery.drain_timeout + kafka.close_timeout <= Duration::from_secs(20));
    }

    #[test]
    fn what_librdkafka_knows_is_handed_through() {
        let plain = [
            ("KAFKA__PROPERTIES__SECURITY__PROTOCOL", "sasl_plaintext"),
            ("KAFKA__PROPERTIES__SASL__MECHANISM", "PLAIN"),
        ];
        let settings = with(&plain).unwrap();
        assert_eq!(settings.kafka.properties.value("security.protocol"), Some("sasl_plaintext"));
    }

    #[test]
    fn tls_is_taken_by_a_build_that_has_it_and_refused_with_what_to_do_by_one_without() {
        let taken = with(&[("KAFKA__PROPERTIES__SECURITY__PROTOCOL", "ssl")]);
        if cfg!(feature = "kafka-tls") {
            taken.unwrap();
        } else {
            let refusal = taken.unwrap_err();
            assert!(refusal.contains("security.protocol") && refusal.contains("kafka-tls"), "{refusal}");
        }
    }
}
