//! What is published again is the event of the first time, and makes an audit clean.

use crate::audit::{audit, place, publish};
use crate::cases;
use crate::relaying::{broker, relay_settings};
use crate::rig::{Rig, Shop};
use order_service::domain::ids::OrderId;
use order_service::outbox::republication::{self, Cause, OrderRange, Pace, RepublicationError};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

cases!(
    what_is_published_again_is_the_first_event_and_then_nothing_is_missing,
    a_range_is_written_in_batches_of_ascending_ids_and_gaps_are_no_end,
    a_republication_that_is_run_again_only_repeats,
    it_waits_for_no_relay_that_does_not_run,
);

fn range(first: i64, last: i64) -> OrderRange {
    OrderRange { first: OrderId(first), last: OrderId(last) }
}

/// Key, event id and payload of each row, in the order in which the relay reads them.
async fn outbox(shop: &Shop) -> Vec<(String, Uuid, String)> {
    let query = "SELECT key, event_id::text, payload FROM outbox ORDER BY seq";
    let rows = shop.session().await.query(query, &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| (row.get(0), row.get::<_, String>(1).parse().unwrap(), row.get(2));
    rows.iter().map(row).collect()
}

async fn what_is_published_again_is_the_first_event_and_then_nothing_is_missing(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    let orders = place(&shop, 6).await;
    let first_time = outbox(&shop).await;
    shop.execute("DELETE FROM outbox WHERE seq > (SELECT min(seq) + 1 FROM outbox)").await;
    publish(&shop, &settings).await;
    assert_eq!(audit(&settings).await.findings.missing.count, 4);

    let all = range(orders[2].id.0, orders[5].id.0);
    let written = republication::republish(&shop.database, "order-completed", all, Pace::default()).await;
    assert_eq!(written.unwrap(), 4);
    assert_eq!(outbox(&shop).await, first_time[2..]);
    assert_eq!(audit(&settings).await.findings.pending.count, 4);
    publish(&shop, &settings).await;
    let report = audit(&settings).await;
    assert_eq!((report.counts.published, report.broken(true)), (6, None), "{report}");
}

async fn a_range_is_written_in_batches_of_ascending_ids_and_gaps_are_no_end(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let orders = place(&shop, 9).await;
    let gap = orders[4].id.0;
    shop.execute(&format!(
        "DELETE FROM order_line WHERE order_id = {gap}; DELETE FROM orders WHERE id = {gap}; DELETE FROM outbox"
    ))
    .await;
    let (first, last) = (orders[1].id.0, orders[8].id.0);
    assert_eq!(republication::count(&shop.database, range(first, i64::MAX)).await.unwrap(), 7);
    let pace = Pace { batch: 2, ..Pace::default() };
    let written = republication::republish(&shop.database, "t", range(first, i64::MAX), pace).await.unwrap();
    let keys: Vec<String> = outbox(&shop).await.into_iter().map(|(key, ..)| key).collect();
    let wanted: Vec<String> = (first..=last).filter(|id| *id != gap).map(|id| id.to_string()).collect();
    assert_eq!((keys, written), (wanted, 7));
    let transactions = "SELECT count(DISTINCT xmin::text) FROM outbox";
    assert_eq!(shop.number(transactions).await, 4, "two orders each");
    let error = republication::count(&shop.database, range(last + 1, i64::MAX)).await.unwrap_err();
    assert!(matches!(error, RepublicationError::NoOrder(_)), "{error:?}");
}

/// Beside a first row that is still pending, which stays the first of its key.
async fn a_republication_that_is_run_again_only_repeats(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    let orders = place(&shop, 3).await;
    let first_time = outbox(&shop).await;
    for _ in 0..2 {
        let all = range(orders[0].id.0, orders[2].id.0);
        let again = republication::republish(&shop.database, "order-completed", all, Pace::default()).await;
        assert_eq!(again.unwrap(), 3);
    }
    assert_eq!(outbox(&shop).await, [first_time.clone(), first_time.clone(), first_time].concat());
    publish(&shop, &settings).await;
    let report = audit(&settings).await;
    assert_eq!((report.findings.repeated.count, report.broken(false)), (3, None), "{report}");
}

async fn it_waits_for_no_relay_that_does_not_run(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let orders = place(&shop, 4).await;
    shop.execute("DELETE FROM outbox").await;
    let pace = Pace { batch: 2, most_pending: 2, patience: Duration::ZERO };
    let all = range(orders[0].id.0, orders[3].id.0);
    let error = republication::republish(&shop.database, "order-completed", all, pace).await.unwrap_err();
    let RepublicationError::Stopped { written, next, cause: Cause::NobodyPublishes { .. }, .. } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*written, *next), (2, orders[2].id));
    let on = format!("go on with --orders {}..{}", orders[2].id, orders[3].id);
    assert!(error.to_string().contains(&on), "{error}");
    assert_eq!(outbox(&shop).await.len(), 2);
}
