//! Requests that come again.

use crate::requests::one_piece;
use crate::scene::Scene;

/// The same key: one order, one piece, one event, and the same answer each time, also from another process.
pub(crate) async fn buy_once(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let product = service.api.product(10).await;
    let key = [("Idempotency-Key", "a-buyer-s-own-key")];
    let first = service.api.post("/orders", &key, &one_piece(product)).await;
    assert_eq!(first.status, 201, "{}", first.body);
    let second = service.api.post("/orders", &key, &one_piece(product)).await;
    assert_eq!(second, first);

    // A process that dies between the acknowledgement and the delete repeats the event, as it may; that is another case.
    scene.outbox_is_empty().await;
    service.process.process().kill();
    service.process.exited().await;
    let service = scene.order_service(&[]).await;
    let third = service.api.post("/orders", &key, &one_piece(product)).await;
    assert_eq!(third, first);

    let another = service.api.buy(product).await;
    let reader = scene.reader();
    let keys: Vec<String> = reader.next(2).into_iter().map(|record| record.key).collect();
    assert_eq!(keys, [first.body["orderId"].to_string(), another.to_string()]);
    scene.outbox_is_empty().await;
    assert_eq!(reader.records_on_the_broker(), 2);
    assert_eq!(service.api.stock_of(product).await, 8);
}
