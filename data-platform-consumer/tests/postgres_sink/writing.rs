//! What stands in the table.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cases;
use crate::events::{decoded, deliver, deliver_all, event};
use crate::rig::Rig;

cases!(
    an_event_is_a_row_with_its_body_as_it_came,
    an_event_of_the_original_demonstration_is_a_row_known_by_its_place,
    a_repeat_adds_no_row_and_is_counted,
    an_event_that_is_in_a_batch_twice_is_one_row,
    events_that_wait_are_written_together,
    a_body_that_jsonb_could_not_hold_is_kept_as_it_came,
);

const VALUE: &[u8] = include_bytes!("../../../shared-messages/golden/order-completed.v1.json");
const ID: &str = "01971995-4f2a-7c1e-9a10-3d2c5b7e8f90";

async fn an_event_is_a_row_with_its_body_as_it_came(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let event = decoded(7, VALUE);
    deliver(&platform.sink(&[]), &event).await.unwrap();
    let [row] = platform
        .rows(
            "SELECT idempotency_key, event_id::text, body::text, topic, record_partition, record_offset, deliveries, \
             order_id, user_id, total_amount, discount_amount, paid_amount, coupon_id, occurred_at, \
             received_at = last_received_at \
             FROM order_completed_events",
        )
        .await
        .try_into()
        .unwrap();
    let details = event.message.details.as_ref().unwrap();
    assert_eq!((row.get(0), row.get(1)), (ID, ID));
    assert_eq!(row.get::<_, &str>(2).as_bytes(), VALUE);
    assert_eq!((row.get(3), row.get(4), row.get(5), row.get(6)), ("order-completed", 2, 7_i64, 1_i64));
    let numbers: Vec<Option<i64>> = (7..13).map(|column| row.get(column)).collect();
    let expected = [
        Some(event.message.order_id),
        Some(details.user_id),
        Some(details.total_amount),
        Some(details.discount_amount),
        Some(details.paid_amount),
        details.coupon_id,
    ];
    assert_eq!(numbers, expected);
    let occurred_at: SystemTime = event.message.occurred_at.as_datetime().into();
    let stored: SystemTime = row.get(13);
    // PostgreSQL counts microseconds.
    assert!(occurred_at.duration_since(stored).unwrap() < Duration::from_micros(1));
}

async fn an_event_of_the_original_demonstration_is_a_row_known_by_its_place(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    deliver(&platform.sink(&[]), &event(15)).await.unwrap();
    let [row] = platform
        .rows("SELECT idempotency_key, event_id IS NULL AND user_id IS NULL FROM order_completed_events")
        .await
        .try_into()
        .unwrap();
    assert_eq!((row.get(0), row.get(1)), ("order-completed-2-15", true));
}

async fn a_repeat_adds_no_row_and_is_counted(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let sink = platform.sink(&[]);
    deliver(&sink, &decoded(7, VALUE)).await.unwrap();
    let first = "SELECT received_at::text || xmin FROM order_completed_events";
    let _: String = platform.rows(first).await[0].get(0);
    for offset in [7, 8] {
        deliver(&sink, &decoded(offset, VALUE)).await.unwrap();
    }
    let [row] = platform
        .rows("SELECT deliveries, record_offset, received_at < last_received_at FROM order_completed_events")
        .await
        .try_into()
        .unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), (3_i64, 7_i64, true));
}

async fn an_event_that_is_in_a_batch_twice_is_one_row(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let repeats = (0..20).map(|offset| decoded(offset, VALUE)).collect();
    for outcome in deliver_all(&platform.sink(&[]), repeats).await {
        outcome.unwrap();
    }
    assert_eq!(platform.number("SELECT sum(deliveries)::bigint FROM order_completed_events").await, 20);
    assert_eq!(platform.number("SELECT count(*) FROM order_completed_events").await, 1);
}

async fn events_that_wait_are_written_together(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    for outcome in deliver_all(&platform.sink(&[]), (0..500).map(event).collect()).await {
        outcome.unwrap();
    }
    assert_eq!(platform.number("SELECT count(*) FROM order_completed_events").await, 500);
    // A statement is a transaction, and leaves its number in its rows.
    let statements = platform.number("SELECT count(DISTINCT xmin::text) FROM order_completed_events").await;
    assert!(statements < 250, "{statements} statements");
}

async fn a_body_that_jsonb_could_not_hold_is_kept_as_it_came(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let sink = platform.sink(&[]);
    for (offset, odd) in
        ["\"\\u0000\"", "\"\\ud800\"", "1e999999", "[1.50, {\"a\":1,\"a\":2}]"].iter().enumerate()
    {
        let value = format!("{{\"occurredAt\":\"2025-05-29T01:43\", \"orderId\":15 ,\"later\":{odd}}}");
        deliver(&sink, &decoded(i64::try_from(offset).unwrap(), value.as_bytes())).await.unwrap();
        let query = format!("SELECT body::text FROM order_completed_events WHERE record_offset = {offset}");
        assert_eq!(platform.rows(&query).await[0].get::<_, String>(0), value);
    }
}
