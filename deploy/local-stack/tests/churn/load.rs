//! # The load
//!
//! Events at a steady pace, straight to the topic: several of each key, with ids of their own, each acknowledged by all
//! replicas before it counts. They begin before the consumers do, and end after the last fault.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, Utc};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use shared_messages::headers::{EventHeaders, EventType};
use shared_messages::{OccurredAt, OrderCompletedMessage, OrderDetails, topics};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Events in a second.
pub(crate) const RATE: u32 = 200;
/// So that a key has events waiting behind one another whenever a partition has stood still for a moment.
const KEYS: i64 = 300;
/// How long the load goes on after the last fault: what is produced then finds the group at rest.
const AFTERMATH: Duration = Duration::from_secs(10);
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

pub(crate) struct Load(JoinHandle<Vec<Event>>);

impl Load {
    pub(crate) fn start(servers: String, topic: String, churn_ends_at: Instant) -> Self {
        Self(tokio::task::spawn_blocking(move || produce(&servers, &topic, churn_ends_at + AFTERMATH)))
    }

    /// All of it, in the order in which it was sent.
    pub(crate) async fn ended(self) -> Vec<Event> {
        self.0.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn produce(servers: &str, topic: &str, until: Instant) -> Vec<Event> {
    let places = Places::default();
    let producer: BaseProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .create_with_context(Acknowledged(Arc::clone(&places)))
        .expect("a producer");
    let began = Instant::now();
    let mut sent: Vec<(String, String, DateTime<Utc>)> = Vec::new();
    let mut due = began;
    while due < until {
        producer.poll(due.saturating_duration_since(Instant::now()));
        let Some(early) = due.checked_duration_since(Instant::now()) else {
            sent.push(send(&producer, topic, sent.len()));
            due = began + Duration::from_secs(1) / RATE * u32::try_from(sent.len()).expect("not so many");
            continue;
        };
        std::thread::sleep(early);
    }
    producer.flush(LONGEST).expect("all of it is acknowledged");
    let places = places.lock().unwrap_or_else(PoisonError::into_inner);
    let placed = sent.into_iter().enumerate().map(|(number, (id, key, at))| {
        let (partition, offset) = *places.get(&number).expect("an acknowledged event");
        Event { id, key, partition, offset, at }
    });
    placed.collect()
}

fn send(
    producer: &BaseProducer<Acknowledged>,
    topic: &str,
    number: usize,
) -> (String, String, DateTime<Utc>) {
    let order_id = i64::try_from(number).expect("not so many") % KEYS + 1;
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
        source: "/churn".to_owned(),
        time,
        subject: order_id.to_string(),
        trace: None,
    };
    let pairs = headers.to_pairs();
    let headers = pairs.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    let (key, value) = (topics::record_key(order_id), message.to_json().expect("JSON"));
    let record =
        BaseRecord::with_opaque_to(topic, Box::new(number)).key(&key).payload(&value).headers(headers);
    producer.send(record).map_err(|(error, _)| error).expect("room for it");
    (id.to_string(), key, at)
}
