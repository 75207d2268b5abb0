//! Waiting orders become one transaction, and what goes wrong with it concerns only those whose fault it is.

use crate::cases;
use crate::held_desk::{Answer, HeldDesk};
use crate::metrics::{page, value};
use crate::requests::{request, rows};
use crate::rig::{Rig, Shop, checkout_on, settings, settings_but};
use crate::running::Running;
use futures_util::future::join_all;
use futures_util::join;
use order_service::checkout::Checkout;
use order_service::checkout::error::CheckoutError;
use order_service::checkout::request::OrderRequest;
use order_service::domain::order::OrderRefusal;
use order_service::storage::database::Database;
use serde_json::json;
use std::sync::Arc;

cases!(
    waiting_orders_become_one_transaction,
    the_first_to_come_are_served_first,
    a_locked_coupon_stops_nobody_else,
    an_order_that_a_deadlock_was_resolved_against_is_bought_all_the_same,
    a_batch_that_buys_nothing_writes_nothing,
    the_statements_scan_no_table,
    the_sum_of_what_was_sold_is_what_left_the_stock,
);

/// One piece of product 1.
fn one(user: i64) -> OrderRequest {
    request(user, "k", &[(1, 1)], None)
}

/// Its own two lanes may wait for each other, but not for so long.
fn impatient(shop: &Shop) -> Checkout {
    let settings = settings_but(&shop.own.url(), &[("DATABASE__LOCK_TIMEOUT", "1s")]);
    checkout_on(Database::new(&settings.database).unwrap())
}

async fn waiting_orders_become_one_transaction(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 1000)]).await;
    let held = HeldDesk::by(one(9999), &shop, &shop.checkout()).await;
    let others = held.place((1..=40).map(one)).await;
    held.let_go().await.unwrap();
    for answer in join_all(others).await {
        answer.unwrap().unwrap();
    }
    assert_eq!(rows(&shop).await, (41, 41, 41));
    assert_eq!(shop.number("SELECT count(DISTINCT xmin::text) FROM orders").await, 2);
}

async fn the_first_to_come_are_served_first(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 4)]).await;
    let held = HeldDesk::by(one(9999), &shop, &shop.checkout()).await;
    let others = held.place((1..=10).map(one)).await;
    held.let_go().await.unwrap();
    let bought: Vec<bool> =
        join_all(others).await.into_iter().map(|answer| answer.unwrap().is_ok()).collect();
    assert_eq!(bought, (1..=10).map(|user| user <= 3).collect::<Vec<_>>());
}

async fn a_locked_coupon_stops_nobody_else(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 1000)]).await;
    shop.execute(
        "INSERT INTO coupon (user_id, discount_amount) SELECT u, 1 FROM generate_series(1, 20) AS u",
    )
    .await;
    let checkout = impatient(&shop);
    let operator = shop.session().await;
    operator.batch_execute("BEGIN; SELECT * FROM coupon WHERE id = 7 FOR UPDATE").await.unwrap();
    let buyers = (1..=20).map(|user| checkout.complete(request(user, "k", &[(1, 1)], Some(user))));
    for (user, answer) in (1..=20).zip(join_all(buyers).await) {
        assert_eq!(answer.is_ok(), user != 7, "{user}: {answer:?}");
    }
    operator.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(shop.number("SELECT count(*) FROM coupon WHERE used_by_order_id IS NOT NULL").await, 19);
    checkout.complete(request(7, "k", &[(1, 1)], Some(7))).await.unwrap();
}

/// An operator who locks a coupon first and a product then, the other way round.
async fn an_order_that_a_deadlock_was_resolved_against_is_bought_all_the_same(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5), (10, 5)]).await;
    shop.execute("INSERT INTO coupon (user_id, discount_amount) VALUES (1, 1)").await;
    let service = Running::start(&shop).await;
    let [operator, other] = [shop.session().await, shop.session().await];
    other.batch_execute("BEGIN; SELECT * FROM stock WHERE product_id = 2 FOR UPDATE").await.unwrap();
    // Who has waited for so long looks for a circle, and is its victim. The operator does not look.
    operator
        .batch_execute("SET deadlock_timeout = '10min'; BEGIN; SELECT * FROM coupon FOR UPDATE")
        .await
        .unwrap();
    let items = json!([{"productId": 1, "quantity": 1}, {"productId": 2, "quantity": 1}]);
    let order = json!({"userId": 1, "items": items, "couponId": 1});
    let url = format!("http://{}/orders", service.address);
    let buying = tokio::spawn(service.client.post(url).json(&order).send());
    // It has the first product, and waits for the second.
    shop.until_locked(1).await;
    let second_step = operator.batch_execute("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE");
    let close_circle = async {
        shop.until(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name <> 'order-service' AND wait_event_type = 'Lock'",
        )
        .await;
        // Now it goes on to the coupon.
        other.batch_execute("ROLLBACK").await.unwrap();
    };
    let (got_the_product, ()) = join!(second_step, close_circle);
    got_the_product.expect("the order has let go of it");
    operator.batch_execute("COMMIT").await.unwrap();
    assert_eq!(buying.await.unwrap().unwrap().status(), 201);
    let transactions =
        |outcome| format!("order_service_transaction_duration_seconds_count{{outcome=\"{outcome}\"}}");
    // Both are counted before the answer. A machine that stands still for a minute has more that are rolled back.
    let page = page(&service).await;
    assert!(value(&page, &transactions("rolled_back")) >= 1.0, "{page}");
    assert!(value(&page, &transactions("committed")) >= 1.0, "{page}");
    assert_eq!(rows(&shop).await, (1, 2, 1));
    assert_eq!(shop.number("SELECT count(*) FROM coupon WHERE used_by_order_id IS NOT NULL").await, 1);
    service.stop().await;
}

async fn a_batch_that_buys_nothing_writes_nothing(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 1)]).await;
    let checkout = shop.checkout();
    let bought = checkout.complete(request(1, "k", &[(1, 1)], None)).await.unwrap();
    let version = shop.number("SELECT xmin::text::bigint FROM stock").await;
    let sold_out = checkout.complete(request(2, "k", &[(1, 1)], None)).await.unwrap_err();
    assert!(matches!(sold_out, CheckoutError::Refused(OrderRefusal::OutOfStock(_))), "{sold_out:?}");
    assert_eq!(checkout.complete(request(1, "k", &[(1, 1)], None)).await.unwrap(), bought);
    assert_eq!(rows(&shop).await, (1, 1, 1));
    assert_eq!(shop.number("SELECT xmin::text::bigint FROM stock").await, version);
}

/// Sequential scans that the database has counted, of every table that a batch touches.
const SCANS: &str = "SELECT coalesce(sum(seq_scan), 0)::bigint FROM pg_stat_user_tables \
     WHERE relname IN ('stock', 'coupon', 'orders', 'order_line', 'product', 'outbox')";
const SCANNED_BY_INDEX: &str = "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_tables";
/// Rows that were fetched by an index. Reading a whole table by its index is no sequential scan.
const FETCHED: &str = "SELECT coalesce(sum(idx_tup_fetch), 0)::bigint FROM pg_stat_user_tables";
/// Of one order with one line and a coupon, foreign keys' checks included; it is some ten.
const MOST_FETCHED: i64 = 20;

const OTHER_ORDERS: &str = "INSERT INTO orders SELECT -n, 1000000 + n, 'k', '', gen_random_uuid(), NULL, 0, 0, now() \
     FROM generate_series(1, 100000) AS n";

/// On 100,000 products and as many coupons, from the first order on: a plan that was made while there were no orders, and
/// the statistics said so, must be as good when there are 100,000.
async fn the_statements_scan_no_table(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.execute(
        "INSERT INTO product (name) SELECT 'thing' FROM generate_series(1, 100000); \
         INSERT INTO stock SELECT id, 10, 1000 FROM product; \
         INSERT INTO coupon (user_id, discount_amount) SELECT u, 1 FROM generate_series(1, 100000) AS u",
    )
    .await;
    shop.execute("ALTER TABLE orders SET (autovacuum_enabled = off)").await;
    shop.execute("VACUUM ANALYZE").await;
    // A session hands in its counts when it ends.
    shop.until_alone().await;
    let (before, by_index) = (shop.number(SCANS).await, shop.number(SCANNED_BY_INDEX).await);
    let fetched = shop.number(FETCHED).await;
    {
        let checkout = checkout_on(shop.database.clone());
        // Often enough for the server to have settled on a generic plan, while there is no order.
        for round in 0..8 {
            let buyers =
                (1..=64).map(|user| checkout.complete(request(user, &format!("k{round}"), &[(-1, 1)], None)));
            assert!(join_all(buyers).await.iter().all(Result::is_err));
        }
        shop.execute(OTHER_ORDERS).await;
        for round in 0..10 {
            let key = format!("k{round}");
            let buyers = (0..64).map(|n| {
                let (user, product) = (round * 64 + n + 1, (round * 64 + n) * 131 + 1);
                checkout.complete(request(user, &key, &[(product, 1)], Some(user)))
            });
            assert!(join_all(buyers).await.iter().all(Result::is_ok));
        }
        checkout.close().await;
    }
    let Shop { database, own } = shop;
    drop(database);
    let shop = Shop { database: Database::new(&settings(&own.url()).database).unwrap(), own };
    shop.until_alone().await;
    assert_eq!(shop.number(SCANS).await, before);
    // The counts are those of the orders: each locks a product and a coupon and looks up a key, at least.
    assert!(shop.number(SCANNED_BY_INDEX).await >= by_index + 3 * 640);
    let fetched = shop.number(FETCHED).await - fetched;
    assert!((2 * 640..=MOST_FETCHED * 640).contains(&fetched), "{fetched} rows for 640 orders");
}

async fn the_sum_of_what_was_sold_is_what_left_the_stock(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 50), (20, 70), (30, 90)]).await;
    // Two replicas on one database.
    let replicas = [shop.checkout(), checkout_on(shop.database.clone())];
    let buyers = (0..300).map(|n: i64| {
        let items = [(n % 3 + 1, u32::try_from(n % 4 + 1).unwrap()), ((n + 1) % 3 + 1, 1)];
        let checkout = &replicas[usize::try_from(n % 2).unwrap()];
        async move { checkout.complete(request(n + 1, "k", &items, None)).await }
    });
    let answers = join_all(buyers).await;
    let clear =
        |answer: &Answer| matches!(answer, Ok(_) | Err(CheckoutError::Refused(OrderRefusal::OutOfStock(_))));
    assert!(answers.iter().all(clear), "{:?}", answers.iter().find(|answer| !clear(answer)));
    let sold = shop.number("SELECT sum(quantity)::bigint FROM order_line").await;
    let left = shop.number("SELECT sum(on_hand)::bigint FROM stock").await;
    assert_eq!(sold + left, 210);
    let bought = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(rows(&shop).await.0, i64::try_from(bought).unwrap());
}
