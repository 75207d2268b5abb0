//! # Client
//!
//! How librdkafka is set up for a command: the brokers and properties of the service, nothing committed by itself, and
//! no jump to another position. A look or a commit that fails says only that it did; [`Ears`] keep why.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::settings::KafkaSettings;

/// One wait for what went wrong meanwhile.
const TIME_TO_LISTEN: Duration = Duration::from_millis(10);

/// For a client that speaks in this group's name.
pub(crate) fn config(kafka: &KafkaSettings, group_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", "data-platform-consumer-operator")
        .set("reconnect.backoff.max.ms", "2000")
        .set("socket.keepalive.enable", "true");
    for (key, value) in kafka.properties.iter() {
        config.set(key, value);
    }
    // It is a running member's, whom a second one of this name would throw out.
    config.remove("group.instance.id");
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("group.id", group_id)
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    config
}

/// Remembers the latest thing that went wrong on the way to a broker.
#[derive(Default)]
pub(crate) struct Ears {
    heard: Mutex<Option<String>>,
}

impl Ears {
    fn heard(&self) -> MutexGuard<'_, Option<String>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "Kafka: {reason}");
        // That all are down only repeats, without a reason, what was said of each.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            let reason = reason.split(" (after ").next().unwrap_or(reason);
            *self.heard() = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Ears {}

/// The most telling reason for an error that a call of this client ended with.
pub(crate) fn cause_of(consumer: &BaseConsumer<Ears>, error: &KafkaError) -> String {
    let mut answer = None;
    while let Some(told) = consumer.poll(TIME_TO_LISTEN) {
        // What a broker answers about the group comes in a record's place. The client's own errors come there too, but
        // without their reason, which the ears have.
        let code = told.err().and_then(|error| error.rdkafka_error_code());
        answer = code.filter(|code| (*code as i32) > 0).map(|code| code.to_string()).or(answer);
    }
    let heard = answer.or_else(|| consumer.context().heard().clone());
    heard.unwrap_or_else(|| error.rdkafka_error_code().map_or(error.to_string(), |code| code.to_string()))
}
