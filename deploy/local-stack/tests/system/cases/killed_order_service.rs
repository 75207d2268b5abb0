//! order-service dies after COMMIT and before the event was sent.

use crate::scene::{OrderService, Scene};

const ORDERS: usize = 5;

/// A relay that is switched off makes the moment between COMMIT and send last as long as the case wants.
pub(crate) async fn before_sending(scene: Scene) {
    let service = scene.order_service(&[("RELAY__ENABLED", "false")]).await;
    let orders = place(&service).await;
    let reader = scene.reader();
    assert_eq!(reader.records_on_the_broker(), 0);
    kill(service).await;
    assert_eq!(scene.rows("outbox").await, 5);

    let _back = scene.order_service(&[]).await;
    let keys: Vec<i64> =
        reader.next(ORDERS).iter().map(|record| record.key.parse().expect("a number")).collect();
    assert_eq!(keys, orders);
    scene.outbox_is_empty().await;
    assert_eq!(reader.records_on_the_broker(), 5, "none was sent twice");
}

/// Here the relay runs and cannot send: its own queue dies with it, the rows do not.
pub(crate) async fn while_the_broker_is_away(scene: Scene) {
    let scene = scene.with_own_kafka();
    let service = scene.order_service(&[]).await;
    scene.kafka().all_down();
    let orders = place(&service).await;
    kill(service).await;
    assert_eq!(scene.rows("outbox").await, 5);

    scene.kafka().all_up();
    let reader = scene.reader();
    assert_eq!(reader.records_on_the_broker(), 0);
    let _back = scene.order_service(&[]).await;
    let keys: Vec<i64> =
        reader.next(ORDERS).iter().map(|record| record.key.parse().expect("a number")).collect();
    assert_eq!(keys, orders);
}

async fn place(service: &OrderService) -> Vec<i64> {
    let product = service.api.product(100).await;
    service.api.buy_often(product, ORDERS).await
}

async fn kill(service: OrderService) {
    service.process.process().kill();
    service.process.exited().await;
}
