//! The scan floor moves up behind what was published, and no row is ever left below it.

use crate::cases;
use crate::crash_points::process::answer_of_command;
use crate::quarantine::{cure, release, with_a_bad_key};
use crate::relaying::{
    RunningRelay, TOPIC, assert_in_order, broker, commit, commit_many, distinct, message, number,
    records_until, relay_settings, until_alarm, until_outbox_has,
};
use crate::rig::{Rig, Shop};
use order_service::outbox::relay::OUTBOX_QUARANTINED;
use order_service::outbox::wake_up::WakeUp;
use order_service::storage::quarantine::{Selection, discard};
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
    what_is_released_is_looked_for_where_it_was_and_not_from_the_beginning,
    what_is_released_in_several_transactions_is_published_in_the_order_of_each_key,
    what_is_discarded_is_not_looked_for,
);

const INSERT: &str = "INSERT INTO outbox (topic, key, event_id, payload, headers) \
     SELECT 'order-completed', 'late', id, '7777', jsonb_build_object('ce_id', id) FROM gen_random_uuid() AS id";

impl RunningRelay {
    async fn until_floor(&self, floor: i64) {
        while self.metrics.scan_floor() != floor {
            tokio::task::yield_now().await;
        }
    }

    /// So often that every step of the floor was taken with what is open now.
    pub(crate) async fn until_looked(&self) {
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
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let late = begin(&shop, &format!("BEGIN; {INSERT}")).await;
    let relay = published(&shop, &broker, 40).await;
    relay.until_looked().await;
    late.batch_execute("COMMIT").await.unwrap();
    shop.balanced(&records_until(&broker, |records| records.len() == 41)).await;
    relay.until_floor(41).await;
    relay.stop().await;
}

async fn a_row_of_a_prepared_transaction_is_published_when_it_commits(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let name = format!("late in {}", uuid::Uuid::new_v4());
    let session = begin(&shop, &format!("BEGIN; {INSERT}; PREPARE TRANSACTION '{name}'")).await;
    let relay = published(&shop, &broker, 40).await;
    relay.until_looked().await;
    session.batch_execute(&format!("COMMIT PREPARED '{name}'")).await.unwrap();
    shop.balanced(&records_until(&broker, |records| records.len() == 41)).await;
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
    let (shop, other, broker) = (rig.shop_with_book().await, rig.shop().await, broker());
    let snapshot = begin(&shop, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM orders").await;
    let writer = begin(&other, &format!("BEGIN; {INSERT}")).await;
    let relay = published(&shop, &broker, 40).await;
    relay.until_floor(40).await;
    shop.balanced(&records_until(&broker, |records| records.len() == 40)).await;
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
    let (shop, broker) = (rig.shop_with_book().await, broker());
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
    shop.balanced(&records_until(&broker, |records| distinct(records) == 40)).await;
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

const DEAD_ROWS: i64 = 20_000;
const ENTRIES_READ: &str = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'outbox_pkey'";

/// A shop whose outbox begins with rows that were published and deleted, and that vacuum may not remove.
async fn behind_dead_rows(rig: &Rig) -> (Shop, Client) {
    let shop = rig.shop().await;
    shop.execute(&format!(
        "INSERT INTO outbox (topic, key, event_id, payload, headers) SELECT 'order-completed', n, gen_random_uuid(), n, '{{}}' FROM generate_series(1, {DEAD_ROWS}) AS n"
    ))
    .await;
    let snapshot = begin(&shop, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM orders").await;
    shop.execute("DELETE FROM outbox").await;
    shop.execute(&format!("UPDATE relay_lease SET published_up_to = {DEAD_ROWS}")).await;
    (shop, snapshot)
}

/// Two rows of the key `bad` are in quarantine, and everything is published: the floor is behind it, and that is noted.
async fn with_a_bad_key_below_the_floor(shop: &Shop, broker: &engines::kafka::MockBroker) -> RunningRelay {
    let relay = with_a_bad_key(shop, broker).await;
    until_alarm(&relay, OUTBOX_QUARANTINED, true).await;
    relay.until_floor(DEAD_ROWS + 3).await;
    shop.until(&format!("SELECT (published_up_to = {DEAD_ROWS} + 3)::int::bigint FROM relay_lease")).await;
    relay
}

/// Its reads, since its beginning, have not gone through the dead rows.
async fn assert_few_were_read(shop: &Shop, relay: RunningRelay, snapshot: Client) {
    relay.stop().await;
    drop(snapshot);
    // A session that has gone has handed in its counts.
    shop.database.close_idle_sessions();
    shop.until_alone().await;
    let read = shop.number(ENTRIES_READ).await;
    // Who begins at the bottom does so with some twenty reads, until the floor has moved. One walk can be a planner's, who looks for the
    // least seq.
    assert!(read < 5 * DEAD_ROWS, "{read} entries of the index were read");
}

async fn what_is_released_is_looked_for_where_it_was_and_not_from_the_beginning(rig: Arc<Rig>) {
    let broker = broker();
    let (shop, snapshot) = behind_dead_rows(&rig).await;
    let relay = with_a_bad_key_below_the_floor(&shop, &broker).await;
    cure(&shop).await;
    assert_eq!(release(&shop, Selection::Key("bad".to_owned())).await, 2);
    commit(&shop, vec![message("bad", 3)], WakeUp::default()).await;
    assert_in_order(&records_until(&broker, |records| distinct(records) == 4));
    until_outbox_has(&shop, 0).await;
    relay.until_floor(DEAD_ROWS + 4).await;
    assert_few_were_read(&shop, relay, snapshot).await;
}

/// As are rows of those keys that are committed meanwhile.
async fn what_is_released_in_several_transactions_is_published_in_the_order_of_each_key(rig: Arc<Rig>) {
    const ROWS: usize = 2_500;
    let (shop, broker) = (rig.shop().await, broker());
    shop.execute(&format!(
        "INSERT INTO outbox_quarantine (seq, topic, key, event_id, payload, headers, created_at) \
         SELECT n, 'order-completed', 'key ' || n % 20, gen_random_uuid(), n, '{{}}', 'epoch' \
         FROM generate_series(1, {ROWS}) AS n; SELECT setval('outbox_seq_seq', {ROWS})"
    ))
    .await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    relay.until_floor(i64::try_from(ROWS).unwrap()).await;
    let releasing = answer_of_command(&shop, &["outbox", "quarantine", "release", "--all"]);
    let committing = async {
        for row in ROWS + 1..=ROWS + 200 {
            commit(&shop, vec![message(&format!("key {}", row % 20), row)], WakeUp::default()).await;
        }
    };
    let ((status, told), ()) = tokio::join!(releasing, committing);
    assert!(status == 0 && told.contains("released"), "{told}");
    // What was committed before its key was released has followed it, behind what that release has seen.
    while shop.number("SELECT count(*) FROM outbox_quarantine").await > 0 {
        release(&shop, Selection::All).await;
    }
    assert_in_order(&records_until(&broker, |records| distinct(records) == ROWS + 200));
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

async fn what_is_discarded_is_not_looked_for(rig: Arc<Rig>) {
    let broker = broker();
    let (shop, snapshot) = behind_dead_rows(&rig).await;
    let relay = with_a_bad_key_below_the_floor(&shop, &broker).await;
    let session = shop.database.session().await.unwrap();
    assert_eq!(discard(&session, &Selection::Key("bad".to_owned())).await.unwrap().len(), 2);
    drop(session);
    until_alarm(&relay, OUTBOX_QUARANTINED, false).await;
    commit(&shop, vec![message("bad", 3)], WakeUp::default()).await;
    records_until(&broker, |records| records.iter().any(|record| number(record) == 3));
    relay.until_floor(DEAD_ROWS + 4).await;
    assert_few_were_read(&shop, relay, snapshot).await;
}
