//! Orders that are refused.

use serde_json::{Value, json};

use crate::scene::{OrderService, Scene};

async fn refused(service: &OrderService, wish: &Value, status: u16, problem: &str) {
    let answer = service.api.post("/orders", &[], wish).await;
    assert_eq!(answer.status, status, "{}", answer.body);
    assert!(answer.body["type"].as_str().expect("text").ends_with(problem), "{}", answer.body);
}

/// No row, no record, no stock, no coupon; and the next order goes through as if nothing had been.
pub(crate) async fn take_nothing(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let (plenty, scarce) = (service.api.product(10).await, service.api.product(1).await);
    let (ours, theirs) = (service.api.coupon(1).await, service.api.coupon(2).await);
    let item = |product: i64, quantity: i64| json!({ "productId": product, "quantity": quantity });

    let too_many = json!({ "userId": 1, "items": [item(plenty, 2), item(scarce, 2)], "couponId": ours });
    refused(&service, &too_many, 409, "/out-of-stock").await;
    let not_ours = json!({ "userId": 1, "items": [item(plenty, 1)], "couponId": theirs });
    refused(&service, &not_ours, 403, "/coupon-not-yours").await;
    let unknown = json!({ "userId": 1, "items": [item(plenty, 1), item(999_999, 1)], "couponId": ours });
    refused(&service, &unknown, 422, "/unknown-product").await;

    assert_eq!(scene.rows("orders").await, 0);
    assert_eq!(scene.rows("outbox").await, 0);
    assert_eq!(service.api.stock_of(plenty).await, 10);
    assert_eq!(service.api.stock_of(scarce).await, 1);

    // That nothing was published is proved by what comes next: it is the first and only record.
    let good = json!({ "userId": 1, "items": [item(plenty, 2), item(scarce, 1)], "couponId": ours });
    let answer = service.api.post("/orders", &[], &good).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let reader = scene.reader();
    assert_eq!(reader.next(1)[0].key, answer.body["orderId"].to_string());
    scene.outbox_is_empty().await;
    assert_eq!(reader.records_on_the_broker(), 1);
    assert_eq!(service.api.stock_of(plenty).await, 8);
}
