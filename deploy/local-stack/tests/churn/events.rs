//! # Events, straight to the topic
//!
//! Several of each key, in turns, with ids of their own; each counts once all replicas have acknowledged it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use shared_messages::headers::{EventHeaders, EventType};
use shared_messages::{OccurredAt, OrderCompletedMessage, OrderDetails, topics};
use uuid::Uuid;

const LONGEST: Duration = Duration::from_mins(1);

/// An event that Kafka has acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) at: DateTime<Utc>,
}

/// Where each lies, by its number.
type Places = Arc<Mutex<BTreeMap<usize, (i32, i64)>>>;

struct Acknowledged(Places);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        if let Ok(record) = result {
            let place = (record.partition(), record.offset());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(*number, place);
        }
    }
}

pub(crate) struct EventProducer {
    producer: BaseProducer<Acknowledged>,
    topic: String,
    keys: i64,
    places: Places,
    sent: Vec<(String, String, DateTime<Utc>)>,
}

impl EventProducer {
    pub(crate) fn new(servers: &str, topic: &str, keys: i64) -> Self {
        let places = Places::default();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create_with_context(Acknowledged(Arc::clone(&places)))
            .expect("a producer");
        Self { producer, topic: topic.to_owned(), keys, places, sent: Vec::new() }
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent.len()
    }

    /// Takes acknowledgements, for so long.
    pub(crate) fn poll(&self, time: Duration) {
        self.producer.poll(time);
    }

    /// One more.
    pub(crate) fn send(&mut self) {
        let number = self.sent.len();
        let order_id = i64::try_from(number).expect("not so many") % self.keys + 1;
        let (at, id) = (Utc::now().trunc_subsecs(6), Uuid::now_v7());
        let details = OrderDetails {
            event_id: id,
            user_id: 7,
            lines: Vec::new(),
            total_amount: 0,
            discount_amount: 0,
            paid_amount: 0,
            coupon_id: None,
        };
        let time = OccurredAt::from_datetime(at);
        let message = OrderCompletedMessage { occurred_at: time, order_id, details: Some(details) };
        let headers = EventHeaders {
            event_id: id,
            event_type: EventType::OrderCompletedV1,
            source: "/events-of-a-test".to_owned(),
            time,
            subject: order_id.to_string(),
            trace: None,
        };
        let pairs = headers.to_pairs();
        let headers = pairs.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let (key, value) = (topics::record_key(order_id), message.to_json().expect("JSON"));
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(number));
        let record = record.key(&key).payload(&value).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).expect("room for it");
        self.sent.push((id.to_string(), key, at));
    }

    /// All of them, in the order in which they were sent, once they are acknowledged.
    pub(crate) fn acknowledged(self) -> Vec<Event> {
        self.producer.flush(LONGEST).expect("all of it is acknowledged");
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let placed = self.sent.into_iter().enumerate().map(|(number, (id, key, at))| {
            let (partition, offset) = *places.get(&number).expect("an acknowledged event");
            Event { id, key, partition, offset, at }
        });
        placed.collect()
    }
}
