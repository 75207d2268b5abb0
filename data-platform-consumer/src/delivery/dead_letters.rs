//! # Dead letters
//!
//! Writes records at fault to the dead-letter topic: the same partition number, key, value and headers, byte for byte, and
//! the headers that tell why. The position moves past a record only after its dead letter was acknowledged by all replicas
//! in sync (`a_dead_letter_that_is_refused_holds_the_position_until_it_is_taken`), so a crash in between parks it twice rather than never.
//!
//! The producer is made when the first record is at fault, which in most processes never happens. It reports into the poll
//! thread's mailbox, like a call. One that has failed for good is replaced, and so is one that has reached no broker for long and
//! may never do so again ([`crate::kafka_clients::reach`];
//! `a_dead_letter_whose_producer_has_lost_all_its_brokers_is_written_by_another`): what is still in its queue is reported as the
//! time-out says, and it is kept until then.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use shared_messages::OccurredAt;
use shared_messages::dead_letter::{DeadLetter, OriginalRecord, is_dead_letter_header};

use super::{Record, RecordPosition};
use crate::consumer_group::{AssignmentEpoch, Parking, Signal};
use crate::kafka_clients::reach::{Reach, reaches_a_broker};
use crate::kafka_clients::{self, told_with_cure};
use crate::settings::KafkaSettings;

/// What is unacknowledged for so long is reported, and tried again.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a dead letter on the wire.
#[derive(Debug)]
pub(crate) struct ParkingReport {
    pub(crate) assignment: AssignmentEpoch,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Its offset in the dead-letter topic, or why it may not be there.
    pub(crate) outcome: Result<i64, String>,
}

/// Writes them.
pub(crate) struct DeadLetters {
    topic: String,
    group_id: String,
    config: ClientConfig,
    mailbox: Sender<Signal>,
    session_timeout: Duration,
    producer: Option<ThreadedProducer<Mailbox>>,
    /// Replaced, as they reached no broker, and not answered for everything yet.
    unreached: Vec<ThreadedProducer<Mailbox>>,
}

impl DeadLetters {
    pub(crate) fn new(kafka: &KafkaSettings, mailbox: Sender<Signal>) -> Self {
        let config = config(kafka);
        let (topic, group_id) = (kafka.dead_letter_topic(), kafka.group_id.clone());
        let session_timeout = kafka.session_timeout;
        Self { topic, group_id, config, mailbox, session_timeout, producer: None, unreached: Vec::new() }
    }

    /// Sends it on its way. Exactly one report follows.
    pub(crate) fn park(&mut self, parking: &Parking<Arc<Record>>, now: Instant) {
        let Parking { assignment, partition, offset, .. } = *parking;
        let report = ParkingReport { assignment, partition, offset, outcome: Ok(-1) };
        if let Err((cause, report)) = self.send(parking, Box::new(report), now) {
            let outcome = Err(told_with_cure(&cause, &self.topic));
            // Nobody listens any more once the poll thread has ended.
            self.mailbox.send(Signal::Parked(ParkingReport { outcome, ..*report })).ok();
        }
    }

    fn send(
        &mut self,
        parking: &Parking<Arc<Record>>,
        report: Box<ParkingReport>,
        now: Instant,
    ) -> Result<(), (KafkaError, Box<ParkingReport>)> {
        let headers = self.headers(parking, now);
        let topic = self.topic.clone();
        let producer = match self.producer(now) {
            Ok(producer) => producer,
            Err(error) => return Err((error, report)),
        };
        let mut record =
            BaseRecord::with_opaque_to(&topic, report).partition(parking.partition).headers(headers);
        if let Some(key) = parking.record.key() {
            record = record.key(key);
        }
        if let Some(value) = parking.record.value() {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(error, record)| (error, record.delivery_opaque))
    }

    fn producer(&mut self, now: Instant) -> KafkaResult<&ThreadedProducer<Mailbox>> {
        self.unreached.retain(|producer| producer.in_flight_count() > 0);
        let lost = self.producer.take_if(|producer| producer.client().context().reach().is_lost(now));
        if let Some(lost) = lost {
            tracing::warn!("the Kafka client that writes dead letters reaches no broker, so it is replaced");
            self.unreached.push(lost);
        }
        let usable = self.producer.take().filter(|producer| producer.client().fatal_error().is_none());
        let producer = if let Some(producer) = usable {
            producer
        } else {
            let reach = Mutex::new(Reach::of_a_session(self.session_timeout));
            let context = Mailbox { topic: self.topic.clone(), mailbox: self.mailbox.clone(), reach };
            self.config.create_with_context(context)?
        };
        Ok(self.producer.insert(producer))
    }

    fn headers(&self, parking: &Parking<Arc<Record>>, now: Instant) -> OwnedHeaders {
        let RecordPosition { topic, partition, offset } = parking.record.position();
        let time = parking.record.timestamp();
        let verdict = &parking.verdict;
        let failing_for = now.saturating_duration_since(verdict.failing_since);
        let parked_at = OccurredAt::now();
        let dead_letter = DeadLetter {
            original: OriginalRecord {
                topic: topic.to_string(),
                partition: *partition,
                offset: *offset,
                timestamp: time.map(|time| time.millis),
                timestamp_type: time.map(|time| time.kind),
            },
            consumer_group: self.group_id.clone(),
            cause: verdict.kind,
            message: verdict.cause.clone(),
            attempts: verdict.calls,
            failing_since: (verdict.calls > 0).then(|| parked_at.before(failing_for)),
            parked_at,
        };
        let kept = || {
            let kept = parking.record.headers().filter(|(name, _)| !is_dead_letter_header(name));
            kept.fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value }))
        };
        let kept = parking.record.native_headers().cloned().unwrap_or_else(kept);
        dead_letter
            .to_pairs()
            .iter()
            .fold(kept, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
    }
}

fn config(kafka: &KafkaSettings) -> ClientConfig {
    let mut config = kafka_clients::writing(kafka, DELIVERY_TIMEOUT);
    config
        // What came in must go out, with headers added; the topic's own limit is the broker's affair.
        .set("message.max.bytes", "16777216")
        // Partitions that an operator adds to the topic are seen within this time.
        .set("topic.metadata.refresh.interval.ms", "5000")
        // They say whether it reaches a broker.
        .set("statistics.interval.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

struct Mailbox {
    topic: String,
    mailbox: Sender<Signal>,
    reach: Mutex<Reach>,
}

impl Mailbox {
    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Mailbox {
    fn stats(&self, statistics: Statistics) {
        self.reach().looked(reaches_a_broker(&statistics), Instant::now());
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        // What comes of it is told by an alarm, in our words.
        tracing::debug!(target: "librdkafka", facility, "librdkafka, dead letters: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("Kafka, dead letters: {error}: {reason}");
    }
}

impl ProducerContext for Mailbox {
    type DeliveryOpaque = Box<ParkingReport>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Box<ParkingReport>) {
        let outcome = match result {
            Ok(record) => Ok(record.offset()),
            Err((error, _)) => Err(told_with_cure(error, &self.topic)),
        };
        // Nobody listens any more once the poll thread has ended; then nothing is committed either.
        self.mailbox.send(Signal::Parked(ParkingReport { outcome, ..*report })).ok();
    }
}
