//! # What a case plays in
//!
//! A database, a topic and a group of its own, and events to the letter as they are published.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engines::kafka::BrokerProcess;
use engines::postgres::{PostgresOptions, PrivatePostgres, TestDatabase};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio_postgres::NoTls;

use crate::program::DEADLINE;

pub(crate) const PARTITIONS: i32 = 3;
const BROKERS: u16 = 3;

const GOLDEN: &str = include_str!("../../../../../shared-messages/golden/order-completed.v1.json");
const GOLDEN_HEADERS: &str = include_str!("../../../../../shared-messages/golden/order-completed.v1.headers");
/// The event id in both of them.
const GOLDEN_EVENT: &str = "01971995-4f2a-7c1e-9a10-3d2c5b7e8f90";
const DEMONSTRATION: &str = include_str!("../../../../../shared-messages/golden/spring/array.json");

static SCENES: AtomicU64 = AtomicU64::new(0);

/// What all cases share.
pub(crate) struct Stage {
    postgres: PrivatePostgres,
    kafka: BrokerProcess,
}

impl Stage {
    pub(crate) async fn build() -> Self {
        let postgres = PrivatePostgres::start(PostgresOptions::for_tests()).await;
        let kafka = BrokerProcess::start(BROKERS);
        Self {
            postgres: postgres.unwrap_or_else(|error| panic!("{error}")),
            kafka: kafka.unwrap_or_else(|error| panic!("{error}")),
        }
    }
}

/// One case's own world.
pub(crate) struct Scene {
    /// The servers stay for as long as a case plays.
    _stage: Arc<Stage>,
    database: TestDatabase,
    bootstrap_servers: String,
    pub(crate) topic: String,
}

/// A record to publish.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) value: Option<String>,
}

impl Event {
    /// The golden event, of another order.
    pub(crate) fn of_order(order: u8) -> Self {
        let event = format!("{}{order:02}", &GOLDEN_EVENT[..GOLDEN_EVENT.len() - 2]);
        let value =
            GOLDEN.replace(GOLDEN_EVENT, &event).replace("\"orderId\":15", &format!("\"orderId\":{order}"));
        let headers = GOLDEN_HEADERS.lines().map(|line| line.split_once(": ").expect("name and value"));
        let headers = headers.map(|(name, value)| match name {
            "ce_id" => (name.to_owned(), event.clone()),
            "ce_subject" => (name.to_owned(), order.to_string()),
            _ => (name.to_owned(), value.to_owned()),
        });
        Self { key: Some(order.to_string()), headers: headers.collect(), value: Some(value) }
    }

    /// As the original demonstration sends it: no key, no headers, no details.
    pub(crate) fn of_the_demonstration() -> Self {
        Self { key: None, headers: Vec::new(), value: Some(DEMONSTRATION.to_owned()) }
    }
}

impl Scene {
    pub(crate) async fn set(stage: Arc<Stage>) -> Self {
        let database = TestDatabase::create(&stage.postgres.url("postgres")).await.expect("a database");
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        let topic = format!("order-completed-{}-{number}", std::process::id());
        stage.kafka.create_topic(&topic, PARTITIONS, i32::from(BROKERS)).expect("a topic");
        let bootstrap_servers = stage.kafka.bootstrap_servers();
        Self { _stage: stage, database, bootstrap_servers, topic }
    }

    /// With another Kafka, which makes the topic when it is first asked for it.
    pub(crate) fn on(mut self, bootstrap_servers: &str) -> Self {
        bootstrap_servers.clone_into(&mut self.bootstrap_servers);
        self
    }

    pub(crate) fn database_url(&self) -> String {
        self.database.url()
    }

    /// `program` with the environment variables that both readers know.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("KAFKA_BOOTSTRAP_SERVERS", &self.bootstrap_servers)
            .env("KAFKA_TOPIC", &self.topic)
            .env("KAFKA_GROUP_ID", self.group());
        command
    }

    fn group(&self) -> String {
        format!("readers-of-{}", self.topic)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers).set_log_level(RDKafkaLogLevel::Emerg);
        config
    }

    /// Returns once the broker has them all, those of one key in this order.
    pub(crate) fn publish(&self, events: &[Event]) {
        let mut config = self.client();
        let config = config.set("partitioner", "murmur2_random").set("enable.idempotence", "true");
        let producer: BaseProducer = config.create().expect("a producer");
        for event in events {
            let headers = event.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
            let mut record = BaseRecord::<str, str>::to(&self.topic).headers(headers);
            record.key = event.key.as_deref();
            record.payload = event.value.as_deref();
            producer.send(record).map_err(|(error, _)| error).expect("taken");
        }
        producer.flush(DEADLINE).expect("published");
    }

    /// How many records the group has committed, over all partitions.
    pub(crate) fn committed(&self) -> i64 {
        let consumer: BaseConsumer =
            self.client().set("group.id", self.group()).create().expect("a consumer");
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&self.topic, 0, PARTITIONS - 1);
        let positions = consumer.committed_offsets(partitions, DEADLINE).expect("the broker answers");
        let positions = positions.elements().into_iter().map(|partition| match partition.offset() {
            Offset::Offset(next) => next,
            Offset::Invalid => 0,
            strange @ (Offset::Beginning | Offset::End | Offset::Stored | Offset::OffsetTail(_)) => {
                panic!("no position: {strange:?}")
            }
        });
        positions.sum()
    }

    /// The reader's table: orders and amount of each day.
    pub(crate) async fn revenue(&self) -> Vec<(String, i64, i64)> {
        let (client, connection) =
            tokio_postgres::connect(&self.database.url(), NoTls).await.expect("connects");
        let asking = async move {
            let rows =
                client.query("SELECT day::text, orders, paid_amount FROM revenue_by_day ORDER BY day", &[]);
            let rows = rows.await.expect("the reader's table");
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
        };
        tokio::join!(asking, connection).0
    }
}

/// The day of the golden event, with so many orders of its amount and so many of no known amount.
pub(crate) fn day_of(orders: i64, without_amount: i64) -> Vec<(String, i64, i64)> {
    vec![("2025-05-29".to_owned(), orders + without_amount, orders * 3_490)]
}
