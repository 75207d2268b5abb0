//! SIGTERM in the middle of the work.

use std::collections::BTreeSet;

use crate::heard::delivered;
use crate::scene::Scene;

const ORDERS: usize = 240;
const SLOW: [(&str, &str); 2] = [("SINK__LOG__WAIT", "100ms"), ("DELIVERY__IN_FLIGHT_LIMIT", "6")];

/// Exit code 0; what it delivered is what it committed, and its successor delivers exactly the rest.
pub(crate) async fn balances(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let product = service.api.product(1_000).await;
    let orders: BTreeSet<i64> = service.api.buy_often(product, ORDERS).await.into_iter().collect();
    scene.outbox_is_empty().await;

    let stopped = scene.consumer("stopped", &SLOW);
    stopped.heard.until("it is in mid-flow", |lines| delivered(lines).len() >= 30).await;
    let status = stopped.process.stop().await;
    assert!(status.success(), "SIGTERM ends it with 0: {status}");
    stopped.heard.says("left the group").await;
    let first = stopped.heard.delivered();
    assert!(first.len() < ORDERS, "it was stopped in the middle of its work");
    assert_eq!(scene.committed_records(), i64::try_from(first.len()).expect("a small number"));

    let successor = scene.consumer("successor", &[]);
    let rest = ORDERS - first.len();
    successor.heard.until("the rest is delivered", |lines| delivered(lines).len() >= rest).await;
    let mut all = first;
    all.extend(successor.heard.delivered());
    assert_eq!(all.len(), ORDERS, "nothing was repeated");
    assert_eq!(all.into_iter().collect::<BTreeSet<i64>>(), orders);
}
