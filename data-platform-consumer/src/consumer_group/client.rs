//! # Client
//!
//! How librdkafka is set up. What the promises hang on comes last, so that the same key handed through cannot
//! undo it; the settings refuse such keys before that, with a reason ([`RESERVED`]). An alias is another key,
//! and the order among keys is nobody's promise, so aliases are refused there too.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::settings::{DeliverySettings, KafkaSettings};

/// What cannot be set through `[kafka.properties]`: it has a setting of its own, or a promise hangs on it.
pub(crate) const RESERVED: &[&str] = &[
    // "The topic is never created by this service."
    "allow.auto.create.topics",
    // An alias of `enable.auto.commit`.
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    // With it librdkafka passes over a batch that is damaged, and reads on: a position behind it would be committed, and nobody
    // would know. Without it the batch is taken as it is: what does not decode becomes a dead letter, or stops the partition.
    "check.crcs",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    // Another way to hear of events, which takes them away from the callbacks: rebalances too.
    "enabled_events",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    // An alias of `bootstrap.servers`.
    "metadata.broker.list",
    // Where positions are kept: with "file" or "none", not at the group's coordinator.
    "offset.store.method",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "statistics.interval.ms",
    // A cluster of librdkafka's own, in place of the real one.
    "test.mock.num.brokers",
];

/// librdkafka does not take the settings.
#[derive(Debug, thiserror::Error)]
#[error("the Kafka client cannot be set up: {reason}")]
pub struct RefusedByClient {
    /// Which property of those handed through it is about, as far as can be told.
    pub property: Option<String>,
    /// librdkafka's own words.
    pub reason: String,
}

impl RefusedByClient {
    pub(crate) fn new(error: &KafkaError, kafka: &KafkaSettings) -> Self {
        let mut properties = kafka.properties.iter().map(|(key, _)| key);
        let (property, reason) = if let KafkaError::ClientConfig(_, description, refused, _) = error {
            (properties.find(|property| property == refused), description.clone())
        } else {
            let reason = error.to_string();
            (properties.find(|property| reason.contains(property)), reason)
        };
        Self { property: property.map(str::to_owned), reason }
    }
}

/// Whether librdkafka knows every property, and takes its value. What a value means (a file that is not there)
/// it finds out only when the client is set up.
pub(crate) fn check(kafka: &KafkaSettings, delivery: &DeliverySettings) -> Result<(), RefusedByClient> {
    let native = config(kafka, delivery).create_native_config();
    native.map(drop).map_err(|error| RefusedByClient::new(&error, kafka))
}

/// How records are fetched: the benchmark's baseline does it likewise.
pub fn fetch_properties(delivery: &DeliverySettings) -> [(&'static str, String); 3] {
    let prefetched = delivery.in_flight_limit.saturating_mul(PREFETCHED_PER_CALL).min(10_000);
    [
        ("queued.min.messages", prefetched.to_string()),
        ("queued.max.messages.kbytes", "16384".to_owned()),
        // With so small a queue the default, a second, would be most of the time.
        ("fetch.queue.backoff.ms", "10".to_owned()),
    ]
}

/// Enough to go on while the next fetch is under way, at 200,000 records a second with the default limit; all of it is stale
/// after a rebalance.
const PREFETCHED_PER_CALL: usize = 20;

pub(crate) fn config(kafka: &KafkaSettings, delivery: &DeliverySettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in fetch_properties(delivery) {
        config.set(key, value);
    }
    config
        .set("client.id", "data-platform-consumer")
        .set("reconnect.backoff.max.ms", "2000")
        // Partitions that are added are seen within this time; a topic that is missing is asked for more often by
        // itself. It is one small request for the one topic.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("socket.keepalive.enable", "true");
    for (key, value) in kafka.properties.iter() {
        config.set(key, value);
    }
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("group.id", &kafka.group_id)
        .set("session.timeout.ms", milliseconds(kafka.session_timeout))
        .set("heartbeat.interval.ms", milliseconds(kafka.heartbeat_interval))
        .set("max.poll.interval.ms", milliseconds(kafka.max_poll_interval))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        // Readiness is read off the client's own statistics.
        .set("statistics.interval.ms", "1000");
    if !kafka.group_instance_id.is_empty() {
        config.set("group.instance.id", &kafka.group_instance_id);
    }
    config
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}
