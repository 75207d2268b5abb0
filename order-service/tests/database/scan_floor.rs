//! The scan floor moves up behind what was published, and no row is ever left below it.

use crate::cases;
use crate::relaying::{
    RunningRelay, TOPIC, broker, commit, commit_many, distinct, message, records_until, relay_settings,
    until_outbox_has,
};
use crate::rig::{Rig, Shop};
use order_service::outbox::wake_up::WakeUp;
use std::sync::Arc;
use tokio_postgres::Client;

cases!(
    the_floor_follows_what_was_published,
    a_row_of_a_writer_that_is_open_while_the_floor_is_looked_at_is_published,
    a_row_of_a_prepared_transaction_is_published_when_it_commits,
    the_first_row_of_a_sequence_that_was_never_drawn_from_is_published,
    rows_of_a_sequence_that_went_back_are_published,
    a_held_snapshot_and_writers_of_other_databases_do_not_hold_the_floor,
    rows_that_come_back_from_below_the_floor_are_published,
    a_row_that_fails_below_the_floor_is_read_again,
);

const INSERT: &str = "INSERT INTO outbox (topic, key, event_id, payload, headers) \
                      VALUES ('order-completed', 'late', gen_random_uuid(), '7777', '{}')";

impl RunningRelay {
    async fn until_floor(&self, floor: i64) {
        while self.metrics.scan_floor() != floor {
            tokio::task::yield_now().await;
        }
    }

    /// So often that every step of the floor was taken with what is open now.
    async fn until_looked(&self) {
        let enough = self.metrics.floor_looks() + 4;
        while self.metrics.floor_looks() < enough {
            tokio::task::yield_now().await;
        }
    }
}

/// A relay that has published rows 1 to `count`.
async fn published(shop: &Shop, broker: &engines::kafka::MockBroker, count: usize) -> RunningRelay {
    commit_many(shop, count, 7).await;
    let relay = RunningRelay::start(shop, &relay_settings(shop, broker, &[]), WakeUp::default());
    records_until(broker, |records| records.len() == count);
    relay
}

async fn begin(shop: &Shop, statements: &str) -> Client {
    let session = shop.session().await;
    session.batch_execute(statements).await.unwrap();
    session
}

async fn the_floor_follows_what_was_published(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = published(&shop, &broker, 40).await;
    relay.until_floor(40).await;
    // A transaction that is rolled back leaves a gap, and no row.
    begin(&shop, &format!("BEGIN; {INSERT}; ROLLBACK")).await;
    relay.until_floor(41).await;
    commit(&shop, vec![message("k", 100)], WakeUp::default()).await;
    relay.until_floor(42).await;
    assert_eq!(distinct(&records_until(&broker, |records| records.len() == 41)), 41);
    relay.stop().await;
}

async fn a_row_of_a_writer_that_is_open_while_the_floor_is_looked_at_is_published(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let late = begin(&shop, &format!("BEGIN; {INSERT}")).await;
    let relay = published(&shop, &broker, 40).await;
    relay.until_looked().await;
    late.batch_execute("COMMIT").await.unwrap();
    records_until(&broker, |records| records.len() == 41);
    relay.until_floor(41).await;
    relay.stop().await;
}

async fn a_row_of_a_prepared_transaction_is_published_when_it_commits(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let name = format!("late in {}", uuid::Uuid::new_v4());
    let session = begin(&shop, &format!("BEGIN; {INSERT}; PREPARE TRANSACTION '{name}'")).await;
    let relay = published(&shop, &broker, 40).await;
    relay.until_looked().await;
    session.batch_execute(&format!("COMMIT PREPARED '{name}'")).await.unwrap();
    records_until(&broker, |records| records.len() == 41);
    relay.stop().await;
}

async fn the_first_row_of_a_sequence_that_was_never_drawn_from_is_published(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    relay.until_looked().await;
    commit(&shop, vec![message("k", 0)], WakeUp::default()).await;
    records_until(&broker, |records| records.len() == 1);
    relay.stop().await;
}

async fn rows_of_a_sequence_that_went_back_are_published(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = published(&shop, &broker, 40).await;
    relay.until_floor(40).await;
    shop.execute("ALTER SEQUENCE outbox_seq_seq RESTART WITH 1").await;
    commit(&shop, vec![message("k", 100)], WakeUp::default()).await;
    records_until(&broker, |records| records.len() == 41);
    relay.until_floor(1).await;
    relay.stop().await;
}

/// The other database is a copy, so its outbox has the same number as ours.
async fn a_held_snapshot_and_writers_of_other_databases_do_not_hold_the_floor(rig: Arc<Rig>) {
    let (shop, other, broker) = (rig.shop().await, rig.shop().await, broker());
    let snapshot = begin(&shop, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM orders").await;
    let writer = begin(&other, &format!("BEGIN; {INSERT}")).await;
    let relay = published(&shop, &broker, 40).await;
    relay.until_floor(40).await;
    for session in [snapshot, writer] {
        session.batch_execute("ROLLBACK").await.unwrap();
    }
    relay.stop().await;
}

async fn rows_that_come_back_from_below_the_floor_are_published(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = published(&shop, &broker, 40).await;
    relay.until_floor(40).await;
    shop.execute(
        "BEGIN; INSERT INTO outbox (seq, topic, key, event_id, payload, headers) OVERRIDING SYSTEM VALUE \
         VALUES (5, 'order-completed', 'back', gen_random_uuid(), '7777', '{}'); \
         UPDATE relay_lease SET rescans = rescans + 1; COMMIT",
    )
    .await;
    records_until(&broker, |records| records.len() == 41);
    relay.stop().await;
}

async fn a_row_that_fails_below_the_floor_is_read_again(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    broker.cluster().partition_leader(TOPIC, 0, None).unwrap();
    commit_many(&shop, 40, 40).await;
    let slow = [("KAFKA__DELIVERY_TIMEOUT", "8s")];
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &slow), WakeUp::default());
    // Rows on their way do not hold it.
    relay.until_floor(40).await;
    assert_eq!(relay.metrics.failed(), 0);
    while relay.metrics.failed() == 0 {
        tokio::task::yield_now().await;
    }
    broker.cluster().partition_leader(TOPIC, 0, Some(1)).unwrap();
    records_until(&broker, |records| distinct(records) == 40);
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}
