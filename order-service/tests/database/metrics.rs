//! What an operator sees on `/metrics`, after requests whose outcome is known.

#![expect(clippy::float_cmp, reason = "counts are whole numbers")]

use crate::cases;
use crate::crash_points::hang_up::order;
use crate::rig::{Rig, Shop};
use crate::running::Running;
use engines::tcp_proxy::TcpProxy;
use order_service::outbox::backlog::Backlog;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::json;
use std::sync::Arc;

cases!(
    requests_orders_and_transactions_are_counted_by_what_became_of_them,
    a_buyer_who_hung_up_is_counted_as_such,
    the_backlog_is_counted_and_its_oldest_event_is_timed,
    a_backlog_that_nobody_can_look_at_is_unknown_and_not_what_it_was,
);

pub(crate) async fn page(service: &Running) -> String {
    let url = format!("http://{}/metrics", service.management);
    let response = service.client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}

/// The value of a series, written as the page writes it.
pub(crate) fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
}

/// Returns when the series has this value.
pub(crate) async fn until(service: &Running, series: &str, expected: f64) {
    // The case's own limit bounds it.
    while value(&page(service).await, series) != expected {
        tokio::task::yield_now().await;
    }
}

async fn requests_orders_and_transactions_are_counted_by_what_became_of_them(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 5)]).await;
    let service = Running::start(&shop).await;
    let before = page(&service).await;
    assert_eq!(value(&before, r#"order_service_desk_orders_total{outcome="overloaded"}"#), 0.0);

    let order = |quantity: u32| json!({"userId": 1, "items": [{"productId": 1, "quantity": quantity}]});
    service.created("/orders", &order(1)).await;
    let url = format!("http://{}/orders", service.address);
    let keyed =
        |quantity| service.client.post(&url).header("idempotency-key", "k").json(&order(quantity)).send();
    for (quantity, status) in [(2, 201), (2, 201), (3, 422), (9, 422)] {
        assert_eq!(keyed(quantity).await.unwrap().status(), status);
    }
    assert_eq!(service.post("/orders", &order(9)).await.status(), 409);
    assert_eq!(service.post("/orders", &json!({"userId": 1})).await.status(), 422);
    assert_eq!(service.read("/orders/1").await.status(), 200);
    assert_eq!(service.read("/no/such/page").await.status(), 404);

    let page = page(&service).await;
    for (outcome, orders) in [("completed", 3.0), ("key_reused", 2.0), ("refused", 1.0), ("hung_up", 0.0)] {
        let series = format!(r#"order_service_desk_orders_total{{outcome="{outcome}"}}"#);
        assert_eq!(value(&page, &series), orders, "{outcome}");
    }
    // One after the other, each is a batch of its own.
    for series in ["desk_batch_orders_count", "desk_batch_orders_sum", "desk_queue_wait_seconds_count"] {
        assert_eq!(value(&page, &format!("order_service_{series}")), 6.0, "{series}");
    }
    assert_eq!(value(&page, "order_service_desk_queue_limit_orders"), 2000.0);
    assert_eq!(value(&page, r#"order_service_desk_waiting_orders{lane="fast"}"#), 0.0);
    let requests = |method: &str, route: &str, status: u16| {
        let series = format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"{method}\",\
             http_route=\"{route}\",http_response_status_code=\"{status}\"}}"
        );
        value(&page, &series)
    };
    assert_eq!(requests("POST", "/orders", 201), 3.0);
    assert_eq!(requests("POST", "/orders", 409), 1.0);
    assert_eq!(requests("POST", "/orders", 422), 3.0);
    assert_eq!(requests("GET", "/orders/{orderId}", 200), 1.0);
    assert_eq!(requests("GET", "", 404), 1.0);
    let transactions = |outcome: &str| {
        value(&page, &format!(r#"order_service_transaction_duration_seconds_count{{outcome="{outcome}"}}"#))
    };
    // Two bought; a repeat, two used keys and a refusal bought nothing.
    assert_eq!(
        (transactions("committed"), transactions("rolled_back"), transactions("unknown")),
        (2.0, 4.0, 0.0)
    );
    assert_eq!(value(&page, "db_client_connection_max"), 10.0);
    assert_eq!(value(&page, "db_client_connection_pending_requests"), 0.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(value(&page, &format!(r#"build_info{{service="order-service",version="{version}"}}"#)), 1.0);
    until(&service, "order_service_outbox_pending_events", 2.0).await;
    service.stop().await;
}

async fn a_buyer_who_hung_up_is_counted_as_such(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 5)]).await;
    let service = Running::start(&shop).await;
    let holder = shop.session().await;
    holder.batch_execute("BEGIN; SELECT 1 FROM stock FOR UPDATE").await.unwrap();
    let buyer = order(service.address, "k").await;
    // His order has begun: it waits for the product's row.
    shop.until_locked(1).await;
    drop(buyer);
    until(&service, r#"order_service_desk_orders_total{outcome="hung_up"}"#, 1.0).await;
    drop(holder);
    service.stop().await;
}

const EVENTS: &str = "
    INSERT INTO outbox (topic, key, event_id, payload, headers, created_at)
    SELECT 'orders', '1', gen_random_uuid(), '{}', '{}', clock_timestamp() - make_interval(secs => age)
    FROM generate_series(1, 3) AS n, (VALUES (100)) AS ages (age)";

const BACKLOG: [&str; 2] = ["outbox_pending_events", "outbox_oldest_pending_age_seconds"];

async fn backlog_of(shop: &Shop) -> Registry {
    let mut session = shop.database.relay_session().await.unwrap();
    let (mut backlog, mut registry) = (Backlog::new(None), Registry::default());
    backlog.register_metrics(&mut registry);
    assert_eq!(both(&registry).map(f64::is_nan), [true, true], "before the first look");
    backlog.look(&mut session).await.unwrap();
    registry
}

fn both(registry: &Registry) -> [f64; 2] {
    let mut page = String::new();
    text::encode(&mut page, registry).unwrap();
    BACKLOG.map(|series| value(&page, series))
}

async fn the_backlog_is_counted_and_its_oldest_event_is_timed(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    assert_eq!(both(&backlog_of(&shop).await), [0.0, 0.0]);
    shop.execute(EVENTS).await;
    let [pending, age] = both(&backlog_of(&shop).await);
    assert_eq!(pending, 3.0);
    assert!((100.0..200.0).contains(&age), "{age}");
}

async fn a_backlog_that_nobody_can_look_at_is_unknown_and_not_what_it_was(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.execute(EVENTS).await;
    let proxy = TcpProxy::start(rig.address()).await.unwrap();
    let url = proxy.url(&shop.own.url());
    let service = Running::start_with(&shop, &[("DATABASE__URL", &url)]).await;
    until_backlog(&service, |[pending, age]| pending == 3.0 && age >= 100.0).await;
    // Between two looks: one that broke in its middle would count again after a minute only.
    shop.until(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'order-service watch' AND state = 'idle' \
         AND clock_timestamp() - state_change BETWEEN interval '100ms' AND interval '500ms'",
    )
    .await;
    proxy.refuse(true);
    proxy.cut();
    until_backlog(&service, |numbers| numbers.map(f64::is_nan) == [true, true]).await;
    shop.execute("DELETE FROM outbox WHERE seq = (SELECT min(seq) FROM outbox)").await;
    proxy.refuse(false);
    until_backlog(&service, |[pending, age]| pending == 2.0 && age >= 100.0).await;
    service.stop().await;
}

/// Returns when both numbers are as they must be.
async fn until_backlog(service: &Running, as_they_must_be: impl Fn([f64; 2]) -> bool) {
    let series = BACKLOG.map(|series| format!("order_service_{series}"));
    loop {
        let page = page(service).await;
        if as_they_must_be([value(&page, &series[0]), value(&page, &series[1])]) {
            return;
        }
        tokio::task::yield_now().await;
    }
}
