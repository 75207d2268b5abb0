//! A flash sale, as `local-stack --flash-sale` holds it, at a smaller size.

use std::collections::HashSet;

use local_stack::arrivals::Comparison;
use local_stack::flash_sale::{self, Outcome, Size};
use local_stack::shop::{Shop, client_with_idle};

use crate::heard::delivered;
use crate::scene::Scene;

const SIZE: Size = Size { requests: 1_000, pieces: 100, connections: 50, repeat_every: 20 };

/// Exactly the pieces are sold, repeats get their first order, the rest is refused, and every order sold arrives.
pub(crate) async fn sells_what_there_is(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let consumers = ["consumer-1", "consumer-2"].map(|name| scene.consumer(name, &[]));
    let shop =
        Shop::new(client_with_idle(SIZE.connections).expect("a client"), service.api.root().to_owned());
    let sale = flash_sale::hold(&shop, SIZE).await.expect("every request is answered");
    let pieces = usize::try_from(SIZE.pieces).expect("a small number");
    let distinct = |orders: Vec<i64>| orders.into_iter().collect::<HashSet<i64>>();
    scene.everybody.until("every order arrives", |lines| distinct(delivered(lines)).len() >= pieces).await;
    let delivered = distinct(scene.everybody.delivered());
    let committed: HashSet<i64> = scene.ids("orders").await.into_iter().collect();
    assert_eq!(committed.len(), pieces);
    let arrived = Comparison {
        delivered: delivered.intersection(&committed).count(),
        repeated: 0,
        uncommitted: delivered.difference(&committed).count(),
        last: None,
    };
    let outcome = Outcome { committed, arrived, others_use_the_topic: false };
    assert_eq!(sale.faults(&outcome), Vec::<String>::new());
    // It is far smaller than the desk, so nobody has a reason to ask twice.
    assert_eq!(sale.asked_again, 0);
    scene.outbox_is_empty().await;
    drop(consumers);
}
