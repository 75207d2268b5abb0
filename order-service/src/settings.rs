//! # Settings
//!
//! `config/default.toml` is the documentation: every setting with its default and why. It is compiled in.

mod desk;
mod relay;
mod topics;

pub use desk::DeskSettings;
pub use relay::RelaySettings;
pub use topics::{Retention, TopicsSettings};

use crate::checkout::limits::OrderLimits;
use crate::kafka::event_publisher;
use crate::outbox::message;
use crate::storage::database::check_url;
use serde::Deserialize;
use service_chassis::management::ManagementSettings;
use service_chassis::settings::{
    ADDRESS_LIST_RULE, DatabaseUrl, Loaded, Properties, SettingsError, SettingsReport, SettingsSource,
    is_address_list, unavailable_kafka_security,
};
use service_chassis::telemetry::LogSettings;
use shared_messages::topics as topic_names;
use std::time::Duration;

/// The commented default file.
pub const DEFAULTS: &str = include_str!("../config/default.toml");
/// The prefix of environment variables.
pub const ENVIRONMENT_PREFIX: &str = "ORDER_SERVICE";
/// Properties of librdkafka that the service's promise rests on.
const FIXED_PROPERTIES: [&str; 13] = [
    "acks",
    "request.required.acks",
    "bootstrap.servers",
    "metadata.broker.list",
    "delivery.timeout.ms",
    "message.timeout.ms",
    "delivery.report.only.error",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "partitioner",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "transactional.id",
];

/// librdkafka's default of `message.max.bytes`.
const PRODUCER_MAX_BYTES: usize = 1_000_000;

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The buyers' port.
    pub http: HttpSettings,
    /// The probes' port.
    pub management: ManagementSettings,
    /// PostgreSQL.
    pub database: DatabaseSettings,
    /// Limits of an order.
    pub orders: OrderSettings,
    /// The checkout desk.
    pub desk: DeskSettings,
    /// Kafka.
    pub kafka: KafkaSettings,
    /// What the topics must be like.
    pub topics: TopicsSettings,
    /// The relay.
    pub relay: RelaySettings,
    /// Logs.
    pub log: LogSettings,
}

/// Section `http`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on.
    pub port: u16,
    /// Threads.
    pub workers: usize,
    /// Largest request body, bytes.
    pub body_limit: usize,
    /// Time for a request's head to arrive.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// Time for a request body to arrive.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Time to finish after SIGTERM.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
}

/// Section `database`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// Where it is.
    pub url: DatabaseUrl,
    /// Connections for requests.
    pub pool_size: usize,
    /// Wait for a connection.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// Wait of the migration job for the database.
    #[serde(with = "humantime_serde")]
    pub wait_timeout: Duration,
    /// Wait for a lock.
    #[serde(with = "humantime_serde")]
    pub lock_timeout: Duration,
    /// Longest statement.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// Longest silence inside a transaction.
    #[serde(with = "humantime_serde")]
    pub idle_in_transaction_timeout: Duration,
}

/// Section `orders`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderSettings {
    /// Most lines.
    pub max_lines: usize,
    /// Most pieces in a line.
    pub max_quantity: u32,
    /// When the buyer is told that the outcome is unknown.
    #[serde(with = "humantime_serde")]
    pub answer_timeout: Duration,
}

/// Section `kafka`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Some brokers.
    pub bootstrap_servers: String,
    /// The topic of `order-completed`.
    pub topic: String,
    /// When an event counts as not acknowledged.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,
    /// How often Kafka is looked at, and how long one look may take.
    #[serde(with = "humantime_serde")]
    pub watch_interval: Duration,
    /// Handed to librdkafka as it is.
    #[serde(default)]
    pub properties: Properties,
}

impl OrderSettings {
    /// What a request is validated against.
    pub fn limits(self) -> OrderLimits {
        OrderLimits { max_lines: self.max_lines, max_quantity: self.max_quantity }
    }
}

/// Loads the settings and checks the rules between them.
///
/// # Errors
/// [`SettingsError`] names the key, its origin and what is wrong.
pub fn load(source: &SettingsSource) -> Result<Loaded<Settings>, SettingsError> {
    let loaded = service_chassis::settings::load::<Settings>(source)?;
    check(&loaded.settings, &loaded.report)?;
    event_publisher::check(&loaded.settings.kafka).map_err(|property| {
        let key = format!("kafka.properties.{}", property.name);
        loaded.report.reject(&key, format!("librdkafka says: {}", property.reason))
    })?;
    Ok(loaded)
}

fn check(settings: &Settings, report: &SettingsReport) -> Result<(), SettingsError> {
    let Settings { http, database, orders, kafka, .. } = settings;
    check_url(database.url.expose()).map_err(|reason| report.reject("database.url", reason))?;
    let must =
        |holds: bool, key: &str, reason: &str| if holds { Ok(()) } else { Err(report.reject(key, reason)) };
    must((1..=512).contains(&http.workers), "http.workers", "must be from 1 to 512")?;
    must(
        http.shutdown_timeout >= Duration::from_secs(1) && http.shutdown_timeout.subsec_nanos() == 0,
        "http.shutdown_timeout",
        "must be whole seconds, at least 1s",
    )?;
    must(http.body_limit > 0, "http.body_limit", "must be at least 1")?;
    must(
        (5..=1000).contains(&database.pool_size),
        "database.pool_size",
        "must be from 5 to 1000: a worker of the desk takes a connection, its slow lane one, searches for lost COMMITs two, and the rest is for other requests",
    )?;
    for (timeout, key) in [
        (http.head_timeout, "http.head_timeout"),
        (http.body_timeout, "http.body_timeout"),
        (database.acquire_timeout, "database.acquire_timeout"),
        (database.wait_timeout, "database.wait_timeout"),
        (database.lock_timeout, "database.lock_timeout"),
        (database.statement_timeout, "database.statement_timeout"),
        (database.idle_in_transaction_timeout, "database.idle_in_transaction_timeout"),
        (orders.answer_timeout, "orders.answer_timeout"),
        (kafka.watch_interval, "kafka.watch_interval"),
    ] {
        must(timeout >= Duration::from_millis(1), key, "must be at least 1ms: 0 would switch it off")?;
        must(timeout <= Duration::from_hours(1), key, "must be at most 1h")?;
    }
    must(
        database.lock_timeout <= database.statement_timeout,
        "database.lock_timeout",
        "must not be longer than database.statement_timeout, which would always strike first",
    )?;
    must(orders.max_lines > 0, "orders.max_lines", "must be at least 1")?;
    check_event_size(orders, kafka, report)?;
    must((1..=1_000_000).contains(&orders.max_quantity), "orders.max_quantity", "must be from 1 to 1000000")?;
    must(topic_names::is_name(&kafka.topic), "kafka.topic", topic_names::NAME_RULE)?;
    must(is_address_list(&kafka.bootstrap_servers), "kafka.bootstrap_servers", ADDRESS_LIST_RULE)?;
    must(
        kafka.delivery_timeout >= Duration::from_secs(1),
        "kafka.delivery_timeout",
        "must be at least 1s: a shorter one gives up events that are still on their way",
    )?;
    for (property, _) in kafka.properties.iter() {
        let reason = "cannot be changed: the promise that no event is lost rests on it";
        must(!FIXED_PROPERTIES.contains(&property), &format!("kafka.properties.{property}"), reason)?;
    }
    let security = unavailable_kafka_security(&kafka.properties, cfg!(feature = "kafka-tls"));
    if let Some((property, reason)) = security {
        return Err(report.reject(&format!("kafka.properties.{property}"), reason));
    }
    desk::check(settings, report)?;
    topics::check(settings, report)?;
    relay::check(settings, report)
}

/// An order whose event is larger than the producer takes must be refused when it is placed, not when it is published.
fn check_event_size(
    orders: &OrderSettings,
    kafka: &KafkaSettings,
    report: &SettingsReport,
) -> Result<(), SettingsError> {
    let property = kafka.properties.iter().find(|(property, _)| *property == "message.max.bytes");
    let most: usize =
        property.map_or(PRODUCER_MAX_BYTES, |(_, bytes)| bytes.parse().unwrap_or(PRODUCER_MAX_BYTES));
    let largest = message::largest_event(orders.max_lines);
    if largest <= most {
        return Ok(());
    }
    let reason = format!(
        "is too much: the event of such an order may have {largest} bytes, and kafka.properties takes {most} (message.max.bytes; \
         the topic's max.message.bytes is another limit)"
    );
    Err(report.reject("orders.max_lines", reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_chassis::exit::sentence;
    use service_chassis::settings::load_with_environment;
    use std::ffi::OsString;

    pub(super) fn load(variable: &str, value: &str) -> Result<(), SettingsError> {
        let source =
            SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
        let variable = (OsString::from(format!("ORDER_SERVICE__{variable}")), OsString::from(value));
        let loaded = load_with_environment::<Settings>(&source, [variable])?;
        check(&loaded.settings, &loaded.report)
    }

    #[test]
    fn the_defaults_are_complete_and_keep_their_own_rules() {
        load("HTTP__PORT", "0").unwrap();
    }

    /// What the crash points promise: after a connection that died before COMMIT, its rows are free again so soon.
    #[test]
    fn by_default_a_silent_transaction_ends_after_two_seconds() {
        let source =
            SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
        let defaults = load_with_environment::<Settings>(&source, []).unwrap().settings;
        assert_eq!(defaults.database.idle_in_transaction_timeout, Duration::from_secs(2));
    }

    #[test]
    fn a_broken_rule_names_the_key_its_origin_and_the_reason() {
        for (variable, value, key) in [
            ("DATABASE__URL", "postgres://localhost/orders?sslmode=require", "database.url"),
            ("DATABASE__URL", "postgres://localhost/orders?sslmode=verify-full", "database.url"),
            ("DATABASE__LOCK_TIMEOUT", "1m", "database.lock_timeout"),
            ("DATABASE__STATEMENT_TIMEOUT", "0s", "database.statement_timeout"),
            ("DATABASE__POOL_SIZE", "4", "database.pool_size"),
            ("DATABASE__POOL_SIZE", "9999999999999", "database.pool_size"),
            ("DESK__WORKERS", "7", "desk.workers"),
            ("DESK__QUEUE_ORDERS", "0", "desk.queue_orders"),
            ("DESK__BATCH_LINES", "0", "desk.batch_lines"),
            ("ORDERS__MAX_QUANTITY", "0", "orders.max_quantity"),
            ("ORDERS__MAX_LINES", "8000", "orders.max_lines"),
            ("RELAY__LEASE", "10ms", "relay.lease"),
            ("RELAY__BACKLOG_RATE", "0", "relay.backlog_rate"),
            ("RELAY__BACKLOG_RATE", "fast", "relay.backlog_rate"),
            ("RELAY__BACKLOG_RATE", "20", "relay.backlog_rate"),
            ("RELAY__QUARANTINE_RETENTION", "1s", "relay.quarantine_retention"),
            ("RELAY__QUARANTINE_RETENTION", "10000y", "relay.quarantine_retention"),
            ("RELAY__MAX_IN_FLIGHT", "1000000", "relay.max_in_flight"),
            ("RELAY__ALARM_ABOVE_BYTES", "33554432", "relay.alarm_above_bytes"),
            ("KAFKA__TOPIC", "a b/c", "kafka.topic"),
            ("KAFKA__BOOTSTRAP_SERVERS", "localhost:9092,::::", "kafka.bootstrap_servers"),
            ("HTTP__WORKERS", "5000", "http.workers"),
            ("HTTP__HEAD_TIMEOUT", "0s", "http.head_timeout"),
        ] {
            let told = sentence(&load(variable, value).unwrap_err());
            assert!(told.contains(key) && told.contains(&format!("ORDER_SERVICE__{variable}")), "{told}");
        }
    }

    #[test]
    fn what_the_promise_rests_on_cannot_be_set() {
        for property in ["ACKS", "ENABLE__IDEMPOTENCE", "PARTITIONER", "DELIVERY__REPORT__ONLY__ERROR"] {
            let told = sentence(&load(&format!("KAFKA__PROPERTIES__{property}"), "1").unwrap_err());
            assert!(told.contains("no event is lost"), "{told}");
        }
        load("KAFKA__PROPERTIES__LINGER__MS", "5").unwrap();
    }

    #[test]
    fn tls_is_taken_by_a_build_that_has_it_and_refused_with_what_to_do_by_one_without() {
        let taken = load("KAFKA__PROPERTIES__SECURITY__PROTOCOL", "ssl");
        if cfg!(feature = "kafka-tls") {
            taken.unwrap();
        } else {
            let told = sentence(&taken.unwrap_err());
            assert!(told.contains("security.protocol") && told.contains("kafka-tls"), "{told}");
        }
    }
}
