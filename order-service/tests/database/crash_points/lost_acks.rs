//! P7: a record is in Kafka and its row is still there, as the acknowledgement is lost, or the delete. Then SIGKILL. The same event
//! comes again under the same id, and of others nothing does.

use super::process::ServiceProcess;
use super::relay_instances::instance_with;
use crate::cases;
use crate::relaying::{broker, commit, distinct, each_broker, message, records_until, until_outbox_has};
use crate::rig::{Rig, Shop};
use engines::kafka::MockBroker;
use order_service::outbox::wake_up::WakeUp;
use std::sync::Arc;
use std::time::Duration;

cases!(
    what_was_appended_and_whose_acknowledgement_is_lost_is_sent_again_under_the_same_id,
    what_was_acknowledged_and_is_not_deleted_is_sent_again_under_the_same_id,
);

const ROWS: usize = 30;

/// Rows `from` and on, each of a key of its own, in one transaction.
async fn commit_rows(shop: &Shop, from: usize) {
    let rows = (from..from + ROWS).map(|n| message(&format!("key {n}"), n)).collect();
    commit(shop, rows, WakeUp::default()).await;
}

async fn instance(shop: &Shop, broker: &MockBroker) -> ServiceProcess {
    instance_with(shop, &broker.bootstrap_servers(), &[("RELAY__LEASE", "700ms")]).await
}

/// The relay has been through its cycle often enough to delete what it takes for done.
async fn until_it_has_gone_on(instance: &ServiceProcess) {
    let looks = "order_service_relay_scan_floor_looks_total";
    let enough = instance.metric(looks).await + 3.0;
    while instance.metric(looks).await < enough {
        tokio::task::yield_now().await;
    }
}

/// The next instance sends what is left in the outbox, and nothing else.
async fn is_repeated(shop: &Shop, broker: &MockBroker) {
    let next = instance(shop, broker).await;
    until_outbox_has(shop, 0).await;
    let records = records_until(broker, |records| records.len() >= 3 * ROWS);
    next.terminate();
    assert!(next.exited().await.success());
    let counts = shop.balanced(&records).await;
    assert_eq!(counts.repeated_records, ROWS, "what was in flight, and nothing else");
}

async fn what_was_appended_and_whose_acknowledgement_is_lost_is_sent_again_under_the_same_id(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let first = instance(&shop, &broker).await;
    commit_rows(&shop, 0).await;
    until_outbox_has(&shop, 0).await;
    // From here on an answer takes longer than the case may.
    let answer_after =
        |time| each_broker(&broker, |cluster, id| cluster.broker_round_trip_time(id, time).unwrap());
    answer_after(Duration::from_mins(2));
    commit_rows(&shop, ROWS).await;
    until_it_has_gone_on(&first).await;
    let left = shop.number("SELECT count(*) FROM outbox").await;
    first.kill().await;
    answer_after(Duration::ZERO);
    assert_eq!(left, 30, "nothing was acknowledged");
    records_until(&broker, |records| distinct(records) == 2 * ROWS);
    is_repeated(&shop, &broker).await;
}

async fn what_was_acknowledged_and_is_not_deleted_is_sent_again_under_the_same_id(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let first = instance(&shop, &broker).await;
    commit_rows(&shop, 0).await;
    until_outbox_has(&shop, 0).await;
    shop.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER keep BEFORE DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    .await;
    commit_rows(&shop, ROWS).await;
    while first.metric("order_service_relay_published_events_total").await < 60.0 {
        tokio::task::yield_now().await;
    }
    until_it_has_gone_on(&first).await;
    first.kill().await;
    shop.execute("DROP TRIGGER keep ON outbox").await;
    let left = shop.number("SELECT count(*) FROM outbox").await;
    assert_eq!(left, 30);
    is_repeated(&shop, &broker).await;
}
