//! # Raw librdkafka
//!
//! The baseline: a producer with order-service's properties that is handed the same records from memory, as fast as it takes
//! them, until all are acknowledged. It has no database, and remembers nothing of what it sends.

use super::backlog;
use crate::Failure;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_mins(10);

#[derive(Default)]
struct Acknowledged(AtomicU64);

#[derive(Clone)]
struct Context(Arc<Acknowledged>);

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Records in a second.
pub(super) fn rate(bootstrap_servers: &str, records: u64) -> Result<f64, Failure> {
    let message = backlog::message()?;
    let pairs: Vec<(String, String)> = message.headers.fold(Vec::new(), |mut pairs, name, value| {
        pairs.push((name.to_owned(), value.to_owned()));
        pairs
    });
    let acknowledged = Arc::new(Acknowledged::default());
    let producer: BaseProducer<Context> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .create_with_context(Context(Arc::clone(&acknowledged)))?;
    let began = Instant::now();
    for number in 0..records {
        let key = number.to_string();
        let headers = pairs.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let mut record = BaseRecord::to(&message.topic).key(&key).payload(&message.payload).headers(headers);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(1));
            record = back;
        }
        if number % 256 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(LONGEST)?;
    let took = began.elapsed();
    let acknowledged = acknowledged.0.load(Ordering::Relaxed);
    if acknowledged != records {
        return Err(format!("only {acknowledged} of {records} records were acknowledged").into());
    }
    Ok(records as f64 / took.as_secs_f64())
}
