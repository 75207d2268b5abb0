//! # Records to read
//!
//! Events as orders leave them, with the relay's properties: an order of one line each, with an id of its own, 250 to 350
//! bytes and eight headers, under the order's own key or one of a few.

use super::broker::Broker;
use crate::Failure;
use order_service::domain::ids::{OrderId, ProductId, UserId};
use order_service::domain::money::Money;
use order_service::domain::order::{CompletedOrder, OrderLine};
use order_service::outbox::message::{OutboxMessage, order_completed};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

const LONGEST: Duration = Duration::from_mins(2);
const ANSWER: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Under which keys the records stand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys {
    /// Each under its own.
    Unique,
    /// So many, in turn.
    Few(u64),
}

/// A topic that is complete.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) records: u64,
}

/// Makes a topic with so many records; their orders are numbered from 1.
pub(super) async fn topic(
    broker: &Broker,
    partitions: i32,
    records: u64,
    keys: Keys,
) -> Result<Topic, Failure> {
    let name = format!("bench-{}", Uuid::new_v4());
    broker.create_topic(&name, partitions).await?;
    let topic = Topic { name, partitions, records };
    let (servers, filled) = (broker.bootstrap_servers(), topic.clone());
    tokio::task::spawn_blocking(move || fill(&servers, &filled, keys)).await??;
    Ok(topic)
}

fn fill(servers: &str, topic: &Topic, keys: Keys) -> Result<(), Failure> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .create()?;
    for number in 1..=topic.records {
        let message = message(number, &topic.name)?;
        let key = match keys {
            Keys::Unique => number.to_string(),
            Keys::Few(few) => (number % few).to_string(),
        };
        let headers = message.headers.fold(OwnedHeaders::new(), |headers, key, value| {
            headers.insert(Header { key, value: Some(value) })
        });
        let mut record = BaseRecord::to(&topic.name).key(&key).payload(&message.payload).headers(headers);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(1));
            record = back;
        }
    }
    producer.flush(LONGEST)?;
    is_complete(servers, topic)
}

/// A broker may have dropped what it has no room for.
fn is_complete(servers: &str, topic: &Topic) -> Result<(), Failure> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).create()?;
    let mut there = 0;
    for partition in 0..topic.partitions {
        let (oldest, end) = watermarks(&consumer, topic, partition)?;
        there += u64::try_from(end - oldest)?;
    }
    if there == topic.records {
        return Ok(());
    }
    Err(format!("the broker has {there} of {} records", topic.records).into())
}

/// A partition that was just made has no leader for a moment.
fn watermarks(consumer: &BaseConsumer, topic: &Topic, partition: i32) -> Result<(i64, i64), Failure> {
    let deadline = Instant::now() + ANSWER;
    loop {
        match consumer.fetch_watermarks(&topic.name, partition, ANSWER) {
            Ok(watermarks) => return Ok(watermarks),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn message(number: u64, topic: &str) -> Result<OutboxMessage, Failure> {
    let price = Money::from_minor_units(25_000)?;
    let line = OrderLine { product_id: ProductId(1), quantity: 1, unit_price: price, line_amount: price };
    let order = CompletedOrder {
        id: OrderId(i64::try_from(number)?),
        user_id: UserId(50_000),
        lines: vec![line],
        coupon_id: None,
        total: price,
        discount: Money::ZERO,
        completed_at: SystemTime::UNIX_EPOCH.into(),
        event_id: Uuid::new_v4(),
    };
    Ok(order_completed(&order, topic, None)?)
}
