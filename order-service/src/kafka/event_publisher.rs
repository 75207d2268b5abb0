//! # Event publisher
//!
//! An idempotent producer with `acks=all`. Every event that was accepted gets exactly one [`Delivery`], which
//! says that Kafka has it, or that it may or may not have it: a failure is never taken for "not written", and the
//! event is sent again under the same id.
//!
//! The partitioner is Java's (`murmur2_random`), so a key lands where other producers of the topic put it.

use super::producer_metrics::{Counted, ProducerMetrics};
use crate::outbox::message::PendingMessage;
use crate::settings::KafkaSettings;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedSender;
use tracing::debug;

/// What became of an event that was sent.
#[derive(Debug)]
pub struct Delivery {
    /// The row it came from.
    pub seq: i64,
    /// `Err`: Kafka may have it or not, with the cause.
    pub result: Result<(), KafkaError>,
}

/// Why an event was not accepted for sending.
#[derive(Debug, Error)]
pub enum SendError {
    /// The producer's queue is full for now.
    #[error("the producer's queue is full")]
    QueueFull,
    /// This producer accepts nothing any more and must be replaced.
    #[error("the producer has failed for good: {0}")]
    Fatal(String),
    /// This event is refused.
    #[error("the event is refused: {}", told_with_cure(.0))]
    Refused(KafkaError),
}

/// The error, and what an operator can do about it.
pub fn told_with_cure(error: &KafkaError) -> String {
    use RDKafkaErrorCode as Code;
    let cure = match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition) => {
            "the topic does not exist: run `order-service topics`, or correct kafka.topic"
        }
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
            "this user may not write to the topic: have it granted"
        }
        Some(Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend) => {
            "fewer replicas are in sync than the topic's min.insync.replicas: start the other brokers"
        }
        _ => return error.to_string(),
    };
    format!("{cure} ({error})")
}

/// Whether this event, and only this event, will never be taken, however often it is sent.
/// Then why.
pub fn refused_for_good(error: &KafkaError) -> Option<String> {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    matches!(code, Some(Code::MessageSizeTooLarge | Code::InvalidRecord)).then(|| error.to_string())
}

/// The settings make no producer.
#[derive(Debug, Error)]
#[error("librdkafka refuses the settings: {0}")]
pub struct PublisherError(#[from] KafkaError);

/// Sends events and reports their deliveries.
pub struct EventPublisher {
    producer: ThreadedProducer<Context>,
}

impl EventPublisher {
    /// Connects in the background; deliveries are reported to `deliveries` in any order.
    ///
    /// # Errors
    /// [`PublisherError`].
    pub fn new(
        settings: &KafkaSettings,
        deliveries: UnboundedSender<Delivery>,
        metrics: ProducerMetrics,
    ) -> Result<Self, PublisherError> {
        let config = client_config(settings);
        let context = Context { deliveries, metrics, said: Mutex::default() };
        Ok(Self { producer: config.create_with_context(context)? })
    }

    /// Hands an event to the producer.
    ///
    /// # Errors
    /// [`SendError`]: it was not accepted, and there will be no delivery for it.
    pub fn send(&self, pending: &PendingMessage) -> Result<(), SendError> {
        let message = &pending.message;
        let opaque = usize::try_from(pending.seq).map_err(|_| {
            SendError::Refused(KafkaError::MessageProduction(RDKafkaErrorCode::InvalidArgument))
        })?;
        let headers = message.headers.fold(OwnedHeaders::new(), |headers, key, value| {
            headers.insert(Header { key, value: Some(value) })
        });
        let record = BaseRecord::with_opaque_to(&message.topic, opaque)
            .key(&message.key)
            .payload(&message.payload)
            .headers(headers);
        self.producer.send(record).map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => SendError::QueueFull,
            Some(RDKafkaErrorCode::Fatal) => SendError::Fatal(error.to_string()),
            _ => SendError::Refused(error),
        })
    }

    /// Why this producer must be replaced, if it must: it has failed for good, or it has forgotten all brokers. librdkafka 2.12 does
    /// when it is once told of a cluster without any, as Kafka tells while all of them are fenced; it knows nobody to ask then, and
    /// would never send again.
    pub fn is_of_no_use(&self) -> Option<String> {
        let fatal = self.producer.client().fatal_error().map(|(code, text)| format!("{code}: {text}"));
        fatal.or_else(|| {
            let said = self.producer.context().said();
            (said.without_brokers >= FORGOTTEN).then(|| "it knows no broker any more".to_owned())
        })
    }

    /// Waits until every event has its delivery, at most `timeout`. Blocks the thread.
    ///
    /// # Errors
    /// Some events have none.
    pub fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        self.producer.flush(timeout)
    }
}

/// A property that librdkafka does not take.
#[derive(Debug)]
pub struct UnusableProperty {
    /// Its name.
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// Whether librdkafka knows these properties and takes their values. Connects nothing.
///
/// # Errors
/// [`UnusableProperty`].
pub fn check(settings: &KafkaSettings) -> Result<(), UnusableProperty> {
    let Err(error) = client_config(settings).create_native_config() else { return Ok(()) };
    Err(if let KafkaError::ClientConfig(_, reason, name, _) = error {
        UnusableProperty { name, reason }
    } else {
        UnusableProperty { name: String::new(), reason: error.to_string() }
    })
}

/// How every client here reaches Kafka. All of them are producers to librdkafka, so that a property for producers
/// is known to those too that never send.
fn connection_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    // What an operator may change comes first, what the promise rests on cannot be changed.
    config
        .set("client.id", "order-service")
        .set("compression.type", "lz4")
        // Longer than it takes to hand over what was read: what comes behind a batch that is on its way has to wait for it.
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("statistics.interval.ms", "5000")
        .set("reconnect.backoff.max.ms", "2000")
        // A topic that came by itself would have the brokers' defaults: one partition, perhaps one replica.
        .set("allow.auto.create.topics", "false");
    for (name, value) in settings.properties.iter() {
        config.set(name, value);
    }
    config
        .set("bootstrap.servers", &settings.bootstrap_servers)
        // librdkafka compares it with others, such as linger.ms.
        .set("delivery.timeout.ms", settings.delivery_timeout.as_millis().to_string());
    config
}

/// For clients beside the publisher, which never send: they keep quiet, as the publisher says it all.
pub(super) fn quiet_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = connection_config(settings);
    config
        .set("allow.auto.create.topics", "false")
        .set("statistics.interval.ms", "0")
        // A frozen broker counts as up until then, and every look would ask it again instead of the others.
        .set("socket.timeout.ms", "2000")
        .set_log_level(RDKafkaLogLevel::Emerg);
    config
}

fn client_config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = connection_config(settings);
    config
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // The relay deletes what is reported as delivered: both kinds of news are needed.
        .set("delivery.report.only.error", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// So many statistics in a row that name no broker, not even one of the settings.
const FORGOTTEN: u32 = 2;

struct Context {
    deliveries: UnboundedSender<Delivery>,
    metrics: ProducerMetrics,
    said: Mutex<Said>,
}

/// What the producer has said of itself.
#[derive(Default)]
struct Said {
    counted: Counted,
    without_brokers: u32,
}

impl Context {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Others stand for no broker: a thread of the client's own, or a coordinator.
fn names_a_broker(statistics: &Statistics) -> bool {
    statistics.brokers.values().any(|broker| matches!(broker.source.as_str(), "configured" | "learned"))
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(kafka.level = ?level, kafka.facility = facility, "librdkafka: {message}");
    }

    /// Every broker repeats its error with every attempt; the alarm of [`super::watch`] is what an operator reads.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!(error = %error, "kafka: {reason}");
    }

    fn stats(&self, statistics: Statistics) {
        let mut said = self.said();
        self.metrics.show(&statistics, &mut said.counted);
        said.without_brokers =
            if names_a_broker(&statistics) { 0 } else { said.without_brokers.saturating_add(1) };
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let result = result.as_ref().map(drop).map_err(|(error, _)| error.clone());
        // A relay that is gone needs no news; the rows are still in the table.
        if let Ok(seq) = i64::try_from(opaque) {
            drop(self.deliveries.send(Delivery { seq, result }));
        }
    }
}
