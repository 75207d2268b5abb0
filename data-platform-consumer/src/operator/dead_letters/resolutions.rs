//! # Writing resolutions
//!
//! And the one other thing that an operator says in the dead-letter topic: that parking goes on.
//!
//! A resolution counts when every in-sync replica has it: the producer is idempotent with `acks=all`, and each write is
//! answered by its acknowledgement. One that is not may stand in the topic all the same; resolving again does no harm.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, config::RDKafkaLogLevel};
use shared_messages::OccurredAt;
use shared_messages::dead_letter::{Resolution, ResolutionOutcome, parking_resumed};
use tokio::sync::oneshot;

use super::letter::LetterId;
use crate::consumer_group::RefusedByClient;
use crate::kafka_clients::{self, Ears, told_with_cure};
use crate::settings::KafkaSettings;

/// It is not known to be written: why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NotAcknowledged(String);

/// Writes what became of dead letters behind them.
pub(super) struct Resolutions {
    producer: ThreadedProducer<Acknowledgements>,
    topic: Arc<str>,
}

/// A resolution on its way.
pub(super) struct Pending {
    answer: oneshot::Receiver<Result<(), KafkaError>>,
    topic: Arc<str>,
}

impl Resolutions {
    pub(super) fn connect(kafka: &KafkaSettings, timeout: Duration) -> Result<Self, RefusedByClient> {
        let config = kafka_clients::writing(kafka, timeout);
        let producer = config
            .create_with_context(Acknowledgements(Ears::default()))
            .map_err(|error| RefusedByClient::new(&error, kafka))?;
        Ok(Self { producer, topic: kafka.dead_letter_topic().into() })
    }

    /// Sends one, with the dead letter's partition and key, and no value.
    pub(super) fn write(
        &self,
        id: LetterId,
        key: Option<&[u8]>,
        outcome: ResolutionOutcome,
    ) -> Result<Pending, NotAcknowledged> {
        let resolution = Resolution { outcome, resolved_offset: id.offset, resolved_at: OccurredAt::now() };
        self.send(id.partition, key, &resolution.to_pairs())
    }

    /// Sends an operator's word that parking goes on in this partition.
    pub(super) fn write_resumed(&self, partition: i32, group_id: &str) -> Result<Pending, NotAcknowledged> {
        self.send(partition, None, &parking_resumed(group_id, OccurredAt::now()))
    }

    fn send(
        &self,
        partition: i32,
        key: Option<&[u8]>,
        pairs: &[(&str, Vec<u8>)],
    ) -> Result<Pending, NotAcknowledged> {
        let headers = OwnedHeaders::new_with_capacity(pairs.len());
        let headers = pairs
            .iter()
            .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let (acknowledged, answer) = oneshot::channel();
        let record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.topic, Box::new(acknowledged))
            .partition(partition)
            .headers(headers);
        let record = match key {
            Some(key) => record.key(key),
            None => record,
        };
        self.producer.send(record).map_err(|(error, _)| NotAcknowledged(error.to_string()))?;
        Ok(Pending { answer, topic: Arc::clone(&self.topic) })
    }
}

impl Pending {
    /// Waits for Kafka's answer, which comes within the time-out of the producer.
    pub(super) async fn acknowledged(self) -> Result<(), NotAcknowledged> {
        Self::told(self.answer.await, &self.topic)
    }

    /// The same, on a thread that may wait.
    pub(super) fn wait(self) -> Result<(), NotAcknowledged> {
        Self::told(self.answer.blocking_recv(), &self.topic)
    }

    fn told(
        answer: Result<Result<(), KafkaError>, oneshot::error::RecvError>,
        topic: &str,
    ) -> Result<(), NotAcknowledged> {
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(NotAcknowledged(told_with_cure(&error, topic))),
            Err(_) => Err(NotAcknowledged("the client was closed".to_owned())),
        }
    }
}

impl Drop for Resolutions {
    /// Dropping a producer throws away what it holds. Whoever cares has waited; this is for who did not.
    fn drop(&mut self) {
        self.producer.flush(Duration::from_secs(1)).ok();
    }
}

struct Acknowledgements(Ears);

impl ClientContext for Acknowledgements {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, acknowledged: Self::DeliveryOpaque) {
        let result = result.as_ref().map(drop).map_err(|(error, _)| error.clone());
        // Whoever waited may have given up.
        acknowledged.send(result).ok();
    }
}
