//! A full desk, as a buyer meets it.

use crate::cases;
use crate::metrics::until;
use crate::rig::Rig;
use crate::running::Running;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;

cases!(a_full_desk_turns_the_next_order_away_at_once_and_sells_to_those_who_wait);

const QUEUE: i64 = 3;

async fn a_full_desk_turns_the_next_order_away_at_once_and_sells_to_those_who_wait(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 9)]).await;
    let service = Running::start_with(&shop, &[("DESK__QUEUE_ORDERS", &QUEUE.to_string())]).await;
    let operator = shop.session().await;
    operator.batch_execute("BEGIN; SELECT * FROM stock FOR UPDATE").await.unwrap();
    let place = |user: i64| {
        let order = json!({"userId": user, "items": [{"productId": 1, "quantity": 1}]});
        service.client.post(format!("http://{}/orders", service.address)).json(&order).send()
    };
    // The first is in its transaction, the others wait for the next one.
    let mut taken = vec![tokio::spawn(place(1))];
    shop.until_locked(1).await;
    taken.extend((1..=QUEUE).map(|user| tokio::spawn(place(1 + user))));
    until(&service, r#"order_service_desk_waiting_orders{lane="fast"}"#, 3.0).await;

    let turned_away = place(9).await.unwrap();
    assert_eq!(turned_away.status(), 503);
    assert_eq!(turned_away.headers()["retry-after"], "1");
    assert_eq!(turned_away.headers()["content-type"], "application/problem+json");
    let turned_away: Value = turned_away.json().await.unwrap();
    assert_eq!(turned_away["type"], "/problems/overloaded");
    assert_eq!(turned_away["idempotencyKey"], Value::Null, "it was the only one under its key");
    // Who sent a key may have sent it before.
    let (status, repeated) = service.orders_one(9, "k", 1).await.unwrap();
    assert_eq!((status, &repeated["type"]), (503, &json!("/problems/overloaded")), "{repeated}");
    assert_eq!(repeated["idempotencyKey"], "k");
    until(&service, r#"order_service_desk_orders_total{outcome="overloaded"}"#, 2.0).await;
    assert!(taken.iter().all(|order| !order.is_finished()), "those who wait still wait");

    operator.batch_execute("ROLLBACK").await.unwrap();
    for answer in join_all(taken).await {
        assert_eq!(answer.unwrap().unwrap().status(), 201);
    }
    assert_eq!(place(9).await.unwrap().status(), 201);
    assert_eq!(shop.number("SELECT on_hand FROM stock").await, 4);
    service.stop().await;
}
