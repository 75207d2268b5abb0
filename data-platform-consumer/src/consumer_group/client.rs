//! # Client
//!
//! How librdkafka is set up. What the promises hang on comes last, so that nothing handed through can undo it;
//! the settings refuse such keys before that, with a reason ([`RESERVED`]).

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::settings::{DeliverySettings, KafkaSettings};

/// What cannot be set through `[kafka.properties]`: it has a setting of its own, or a promise hangs on it.
pub(crate) const RESERVED: &[&str] = &[
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "statistics.interval.ms",
];

/// Enough to have the next records at hand when calls finish; all of it is stale after a rebalance.
const PREFETCHED_PER_CALL: usize = 4;

pub(crate) fn config(kafka: &KafkaSettings, delivery: &DeliverySettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    let prefetched = delivery.in_flight_limit.saturating_mul(PREFETCHED_PER_CALL).min(10_000);
    config
        .set("client.id", "data-platform-consumer")
        .set("queued.min.messages", prefetched.to_string())
        .set("queued.max.messages.kbytes", "16384")
        // With so small a queue the default, a second, would be most of the time.
        .set("fetch.queue.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "2000")
        // A topic that is created later, or partitions that are added, are seen within this time.
        .set("topic.metadata.refresh.interval.ms", "30000")
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
    config
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}
