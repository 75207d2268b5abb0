//! P4: the client hangs up, or the service is told to stop, in mid-request. Order and event are both there or neither,
//! and a repeat under the same key buys once.

use super::HOLD_EVENTS;
use super::process::ServiceProcess;
use super::verdict::Verdict;
use crate::cases;
use crate::rig::Rig;
use crate::running::Running;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

cases!(
    a_client_that_hangs_up_leaves_no_half_order,
    a_service_that_is_told_to_stop_finishes_the_order_that_runs,
    a_service_that_is_told_to_stop_finishes_the_order_of_a_client_who_hung_up,
);

const HOLD_STOCK: &str = "BEGIN; SELECT * FROM stock FOR UPDATE";
const HOLD_COMMIT: &str = "BEGIN; SELECT pg_advisory_xact_lock(1)";

/// An order whose client does not wait for an answer.
pub(crate) async fn order(address: SocketAddr, key: &str) -> TcpStream {
    let body = r#"{"userId":1,"items":[{"productId":1,"quantity":1}]}"#;
    let length = body.len();
    let request = format!(
        "POST /orders HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
         idempotency-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

async fn a_client_that_hangs_up_leaves_no_half_order(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 5)]).await;
    shop.commits_wait("orders").await;
    let service = Running::start(&shop).await;
    let operator = shop.session().await;
    let mut verdict = Verdict::default();
    for (key, hold) in [("stock", HOLD_STOCK), ("event", HOLD_EVENTS), ("commit", HOLD_COMMIT)] {
        operator.batch_execute(hold).await.unwrap();
        let client = order(service.address, key).await;
        shop.until_locked(1).await;
        drop(client);
        verdict.answered_http(1, key, None);
        operator.batch_execute("COMMIT").await.unwrap();
        shop.until_settled().await;
        let halves = "SELECT count(*) FROM orders FULL JOIN outbox ON outbox.key = orders.id::text \
                      WHERE orders.id IS NULL OR outbox.key IS NULL";
        assert_eq!(shop.number(halves).await, 0, "hung up while it waited for {key}");
    }
    for key in ["stock", "event", "commit"] {
        let (status, order) = service.orders_one(1, key, 1).await.unwrap();
        assert_eq!(status, 201, "{order}");
        verdict.answered_http(1, key, Some((status, &order)));
    }
    verdict.kept_with(&shop, 3, 2).await;
    service.stop().await;
}

async fn a_service_that_is_told_to_stop_finishes_the_order_that_runs(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 5)]).await;
    let service = ServiceProcess::start(&shop).await;
    let operator = shop.session().await;
    let mut verdict = Verdict::default();
    operator.batch_execute(HOLD_EVENTS).await.unwrap();
    let buying = tokio::spawn(service.orders_one(1, "k", 1, None));
    shop.until_locked(1).await;
    service.terminate();
    until_closed(&service).await;
    assert!(!buying.is_finished());
    operator.batch_execute("COMMIT").await.unwrap();
    let (status, order) = buying.await.unwrap().expect("it is answered before the service goes");
    assert_eq!(status, 201, "{order}");
    verdict.answered_http(1, "k", Some((status, &order)));
    assert!(service.exited().await.success());
    verdict.kept_with(&shop, 1, 4).await;
}

/// It lets nobody in any more, so it has heard the signal.
async fn until_closed(service: &ServiceProcess) {
    while TcpStream::connect(service.address()).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// No request holds up the end of the service, only the order itself.
async fn a_service_that_is_told_to_stop_finishes_the_order_of_a_client_who_hung_up(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 5)]).await;
    let service = ServiceProcess::start(&shop).await;
    let operator = shop.session().await;
    let mut verdict = Verdict::default();
    operator.batch_execute(HOLD_EVENTS).await.unwrap();
    let client = order(service.address(), "k").await;
    shop.until_locked(1).await;
    drop(client);
    verdict.answered_http(1, "k", None);
    service.terminate();
    until_closed(&service).await;
    // No request is left, and yet it does not end.
    service.until_says("1 transactions still run and are finished").await;
    shop.until_locked(1).await;
    operator.batch_execute("COMMIT").await.unwrap();
    assert!(service.exited().await.success());
    verdict.kept_with(&shop, 1, 4).await;
}
