//! # Cluster
//!
//! What can be seen of Kafka without changing anything: its brokers, and one topic with its replicas and leaders.
//! Looking never creates a topic, whatever the brokers' `auto.create.topics.enable` says.
//!
//! Everything here blocks the thread, for a bounded time: call it from a thread that may wait.

use super::event_publisher::{PublisherError, quiet_config};
use crate::settings::KafkaSettings;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tracing::debug;

/// Takes in what went wrong meanwhile.
const TIME_TO_LISTEN: Duration = Duration::from_millis(10);

/// No broker has answered.
#[derive(Clone, Debug, Error)]
#[error("{cause}")]
pub struct Unreachable {
    /// librdkafka's reason, the most telling that it gave.
    pub cause: String,
}

/// What stands at one moment.
#[derive(Debug)]
pub struct Look {
    /// The ids of the brokers that are up.
    pub brokers: Vec<i32>,
    /// The topic that was asked for.
    pub topic: TopicState,
}

/// How a topic stands.
#[derive(Debug)]
pub enum TopicState {
    /// There is none of this name.
    Missing,
    /// Kafka does not let us see it.
    NotAllowed,
    /// Kafka cannot say at this moment.
    Unclear(String),
    /// It is there.
    Found(BTreeMap<i32, Partition>),
}

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The brokers that shall have a copy, up or not.
    pub replicas: Vec<i32>,
    /// Whether one of them takes events at this moment.
    pub has_leader: bool,
}

/// A connection to Kafka that only looks.
pub struct Cluster {
    client: BaseProducer<Ears>,
}

impl Cluster {
    /// Connects in the background.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, PublisherError> {
        Ok(Self { client: quiet_config(settings).create_with_context(Ears::default())? })
    }

    /// Looks at the brokers and at this topic.
    ///
    /// # Errors
    /// [`Unreachable`]: nobody has answered within `limit`.
    pub fn look(&self, topic: &str, limit: Duration) -> Result<Look, Unreachable> {
        let answer = self.client.client().fetch_metadata(Some(topic), limit);
        self.client.poll(TIME_TO_LISTEN);
        let mut heard = self.client.context().heard();
        match answer {
            Ok(metadata) => {
                *heard = None;
                Ok(look_of(&metadata, topic))
            }
            Err(error) => Err(Unreachable { cause: heard.clone().unwrap_or_else(|| error.to_string()) }),
        }
    }
}

fn look_of(metadata: &Metadata, topic: &str) -> Look {
    let brokers = metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect();
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Look { brokers, topic: found.map_or(TopicState::Missing, state_of) }
}

fn state_of(topic: &MetadataTopic) -> TopicState {
    if let Some(error) = topic.error() {
        let code = RDKafkaErrorCode::from(error);
        return if code == RDKafkaErrorCode::UnknownTopicOrPartition {
            TopicState::Missing
        } else if code == RDKafkaErrorCode::TopicAuthorizationFailed {
            TopicState::NotAllowed
        } else {
            TopicState::Unclear(code.to_string())
        };
    }
    let partitions = topic.partitions().iter().map(|partition| {
        let replicas = partition.replicas().to_vec();
        (partition.id(), Partition { replicas, has_leader: partition.leader() >= 0 })
    });
    TopicState::Found(partitions.collect())
}

/// Remembers the latest thing that went wrong on the way to a broker: a look that fails says only that it did.
#[derive(Default)]
pub(super) struct Ears {
    heard: Mutex<Option<String>>,
}

impl Ears {
    pub(super) fn heard(&self) -> MutexGuard<'_, Option<String>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(kafka.level = ?level, kafka.facility = facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(error = %error, "kafka: {reason}");
        // That all are down only repeats, without a reason, what was said of each.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            let reason = reason.split(" (after ").next().unwrap_or(reason);
            *self.heard() = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Ears {}

impl ProducerContext for Ears {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
