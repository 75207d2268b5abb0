//! No broker can be reached.

use crate::heard;
use crate::scene::Scene;

const BEFORE: usize = 3;
const WHILE_DOWN: usize = 20;

/// Every answer stays 201, the rows wait, and all of them arrive once the brokers are back.
pub(crate) async fn orders_go_on(scene: Scene) {
    let scene = scene.with_own_kafka();
    let service = scene.order_service(&[]).await;
    let consumer = scene.consumer("consumer", &[]);
    let product = service.api.product(100).await;
    let mut orders = service.api.buy_often(product, BEFORE).await;
    let arrived = |lines: &[_], orders: &[i64]| {
        let delivered = heard::delivered(lines);
        orders.iter().all(|order| delivered.contains(order))
    };
    consumer.heard.until("the orders before", |lines| arrived(lines, &orders)).await;
    scene.outbox_is_empty().await;

    scene.kafka().all_down();
    orders.extend(service.api.buy_often(product, WHILE_DOWN).await);
    assert_eq!(scene.rows("outbox").await, 20, "nothing could be sent, and nothing was given up");
    assert_eq!(consumer.heard.delivered().len(), BEFORE);

    scene.kafka().all_up();
    consumer.heard.until("the orders of the outage", |lines| arrived(lines, &orders)).await;
    scene.outbox_is_empty().await;
    orders.extend(service.api.buy_often(product, 1).await);
    consumer.heard.until("the order after", |lines| arrived(lines, &orders)).await;
}
