//! # Clients beside the group's own
//!
//! librdkafka set up from the service's own `[kafka]` settings, so that whoever writes dead letters, looks at them, or decides
//! about positions reaches what the service reaches. None of these clients ever joins the service's group or creates a topic,
//! and only one that sets positions commits.

pub(crate) mod reach;
pub(crate) mod spans;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::settings::KafkaSettings;

/// One wait for what went wrong meanwhile.
const TIME_TO_LISTEN: Duration = Duration::from_millis(10);

/// What every client has in common. The properties come first, so that none of them undoes what stands below.
fn shared(kafka: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in kafka.properties.iter() {
        config.set(key, value);
    }
    // They name one client of the service, of which there cannot be two: with them a second one would throw a replica out.
    config.remove("group.instance.id").remove("transactional.id");
    config
        .set("client.id", "data-platform-consumer")
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("reconnect.backoff.max.ms", "1000")
        .set("allow.auto.create.topics", "false");
    config
}

/// A client that reads, under the name of this group, which it may or may not join.
pub(crate) fn reading(kafka: &KafkaSettings, group_id: &str) -> ClientConfig {
    let mut config = shared(kafka);
    config
        .set("group.id", group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        // Nothing is committed, so there is nothing that it could skip: what retention took is gone anyway.
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", "16384");
    config
}

/// A client that speaks in this group's name: it looks its positions up, and may commit.
pub(crate) fn speaking_for(kafka: &KafkaSettings, group_id: &str) -> ClientConfig {
    let mut config = reading(kafka, group_id);
    config.set("enable.partition.eof", "false").set("auto.offset.reset", "error");
    config
}

/// A client that writes, and has given up or knows better after `timeout`.
pub(crate) fn writing(kafka: &KafkaSettings, timeout: Duration) -> ClientConfig {
    let mut config = shared(kafka);
    // Aliases of what is set below: which of two would count is nobody's promise.
    config.remove("request.required.acks").remove("delivery.timeout.ms");
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0")
        .set("message.timeout.ms", timeout.as_millis().max(1).to_string());
    config
}

/// Keeps the most telling thing that went wrong, for the error that a person reads.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    heard: Mutex<Option<String>>,
}

impl Ears {
    pub(crate) fn heard(&self) -> Option<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
        // That all brokers are down follows from what was said of each of them, and tells less.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            let reason = reason.split(" (after ").next().unwrap_or(reason);
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
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
    let heard = answer.or_else(|| consumer.context().heard());
    heard.unwrap_or_else(|| error.rdkafka_error_code().map_or(error.to_string(), |code| code.to_string()))
}

/// Whether Kafka has answered, and says no.
pub(crate) fn refused(error: &KafkaError) -> bool {
    is_forbidden(error)
        || matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
        )
}

/// Whether it says that this user may not.
pub(crate) fn is_forbidden(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
        )
    )
}

/// Why a record was not taken by this topic, and what an operator can do about it.
pub(crate) fn told_with_cure(error: &KafkaError, topic: &str) -> String {
    use RDKafkaErrorCode as Code;
    let cure = match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => {
            format!("the topic {topic} does not exist: run `order-service topics`")
        }
        Some(Code::UnknownPartition) => {
            format!("the topic {topic} has fewer partitions than the one that is read: add some")
        }
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
            format!("this user may not write to the topic {topic}, have Write granted")
        }
        Some(Code::MessageSizeTooLarge) => format!(
            "the topic {topic} does not take a record of this size with its headers: raise its max.message.bytes"
        ),
        Some(Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend) => {
            "fewer replicas are in sync than the topic's min.insync.replicas: start the other brokers"
                .to_owned()
        }
        Some(Code::MessageTimedOut) => "no broker has taken it in time".to_owned(),
        _ => return error.to_string(),
    };
    format!("{cure} ({error})")
}
