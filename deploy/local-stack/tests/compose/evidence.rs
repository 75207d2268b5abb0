//! # Evidence
//!
//! What the servers hold, read from outside: the orders and the outbox in PostgreSQL, the records and replicas in
//! Kafka.

use std::time::{Duration, Instant};

use ledger::Ledger;
use shared_messages::topics;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::{Client, NoTls};

use crate::kafka::all_replicas_in_sync;
use crate::records::read_all;
use crate::stack::{DEADLINE, LOOK_EVERY};

/// Where to look.
pub(crate) struct Evidence {
    brokers: String,
    database: String,
}

impl Evidence {
    pub(crate) fn new(brokers: String, database: String) -> Self {
        Self { brokers, database }
    }

    async fn database(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.database, NoTls).await.expect("PostgreSQL answers");
        tokio::spawn(connection);
        client
    }

    /// Tells the ledger every order with its event.
    pub(crate) async fn tell_orders(&self, ledger: &mut Ledger) {
        let rows = self
            .database()
            .await
            .query("SELECT id, request_key, event_id::text FROM orders ORDER BY id", &[])
            .await;
        for row in rows.expect("orders") {
            let (id, request_key, event): (i64, String, String) = (row.get(0), row.get(1), row.get(2));
            ledger.order(&id.to_string(), &request_key);
            ledger.committed(&topics::record_key(id), &event);
        }
    }

    /// How many pieces of a product stand in orders, and how many are left.
    pub(crate) async fn sold_and_left(&self, product: i64) -> (i64, i64) {
        let counts =
            "SELECT (SELECT coalesce(sum(quantity), 0)::bigint FROM order_line WHERE product_id = $1),
                             (SELECT on_hand FROM stock WHERE product_id = $1)";
        let row = self.database().await.query_one(counts, &[&product]).await.expect("a product");
        (row.get(0), row.get(1))
    }

    /// The events of all orders.
    pub(crate) async fn events(&self) -> std::collections::HashSet<String> {
        let rows =
            self.database().await.query("SELECT event_id::text FROM orders", &[]).await.expect("orders");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Returns once no event waits for its publication.
    pub(crate) async fn outbox_is_empty(&self) {
        let client = self.database().await;
        let began = Instant::now();
        let mut looks = looks();
        loop {
            looks.tick().await;
            let count = client.query_one("SELECT count(*) FROM outbox", &[]).await.expect("an outbox");
            let waiting: i64 = count.get(0);
            if waiting == 0 {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{waiting} events still wait after {DEADLINE:?}");
        }
    }

    /// Tells the ledger every record of the topic.
    pub(crate) async fn tell_records(&self, ledger: &mut Ledger) {
        let brokers = self.brokers.clone();
        let reading =
            tokio::task::spawn_blocking(move || read_all(&brokers, topics::ORDER_COMPLETED, DEADLINE));
        for record in reading.await.expect("no panic").unwrap_or_else(|error| panic!("{error}")) {
            ledger.recorded(record.partition, record.offset, &record.key, &record.event);
        }
    }

    /// Returns once every partition of every topic has all its replicas in sync: what is killed next is then
    /// the only one that is away.
    pub(crate) async fn replicas_are_in_sync(&self) {
        let began = Instant::now();
        let mut looks = looks();
        loop {
            looks.tick().await;
            let brokers = self.brokers.clone();
            let asking =
                tokio::task::spawn_blocking(move || all_replicas_in_sync(&brokers, Duration::from_secs(5)));
            match asking.await.expect("no panic") {
                Ok(true) => return,
                Ok(false) | Err(_) => {
                    assert!(began.elapsed() < DEADLINE, "replicas are not in sync after {DEADLINE:?}");
                }
            }
        }
    }
}

fn looks() -> tokio::time::Interval {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}
