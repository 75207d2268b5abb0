//! One transaction completes an order: stock, coupon, order, event; all of it or none.

use crate::cases;
use crate::requests::{request, rows};
use crate::rig::{Rig, Shop, checkout_on, settings_but};
use futures_util::future::join_all;
use futures_util::{FutureExt, join};
use order_service::checkout::complete_orders::complete_orders;
use order_service::checkout::error::CheckoutError;
use order_service::domain::order::OrderRefusal;
use order_service::storage::database::Database;
use order_service::storage::error::DatabaseError;
use order_service::storage::orders;
use order_service::storage::transaction_completion::{Outcome, Transaction, in_transaction};
use std::sync::Arc;

cases!(
    an_order_takes_stock_and_coupon_and_leaves_its_event,
    a_refused_order_leaves_no_trace,
    one_refused_order_never_fails_its_neighbours,
    a_repeated_request_is_answered_with_the_stored_order,
    a_key_that_bought_another_order_is_refused,
    the_key_of_another_user_is_another_key,
    a_flash_sale_sells_what_is_there_and_no_more,
    rows_are_locked_in_the_order_of_their_ids_and_stock_before_coupons,
    a_locked_product_is_unavailable_and_nothing_is_done,
    statements_are_prepared_once,
);

async fn issue_coupon(shop: &Shop, user: i64, discount: i64) {
    shop.execute(&format!("INSERT INTO coupon (user_id, discount_amount) VALUES ({user}, {discount})")).await;
}

async fn an_order_takes_stock_and_coupon_and_leaves_its_event(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 5), (70, 9)]).await;
    issue_coupon(&shop, 1, 500).await;
    let order = shop.checkout().complete(request(1, "k", &[(1, 2), (2, 1)], Some(1))).await.unwrap();
    assert_eq!(order.paid().minor_units(), 2570);
    assert_eq!(shop.number("SELECT on_hand FROM stock WHERE product_id = 1").await, 3);
    assert_eq!(shop.number("SELECT used_by_order_id FROM coupon").await, order.id.0);
    assert_eq!(rows(&shop).await, (1, 2, 1));
    let event = "SELECT count(*) FROM outbox JOIN orders USING (event_id) WHERE key = orders.id::text \
                 AND payload::json ->> 'eventId' = event_id::text AND headers ->> 'ce_id' = event_id::text";
    assert_eq!(shop.number(event).await, 1);
    let mut session = shop.database.session().await.unwrap();
    assert_eq!(orders::read(&mut session, order.id).await.unwrap(), Some(order));
}

async fn a_refused_order_leaves_no_trace(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 5), (i64::MAX, 9)]).await;
    issue_coupon(&shop, 1, 500).await;
    issue_coupon(&shop, 2, 500).await;
    shop.execute("INSERT INTO coupon (user_id, discount_amount, expires_at) VALUES (1, 1, now())").await;
    let checkout = shop.checkout();
    for (name, refused) in [
        ("unknown product", request(1, "a", &[(1, 1), (99, 1)], Some(1))),
        ("out of stock", request(1, "b", &[(1, 6)], Some(1))),
        ("another user's coupon", request(1, "c", &[(1, 1)], Some(2))),
        ("expired coupon", request(1, "d", &[(1, 1)], Some(3))),
        ("unknown coupon", request(1, "e", &[(1, 1)], Some(99))),
        ("amount too large", request(1, "f", &[(1, 1), (2, 1)], Some(1))),
    ] {
        let error = checkout.complete(refused).await.unwrap_err();
        assert!(matches!(error, CheckoutError::Refused(_)), "{name}: {error:?}");
    }
    assert_eq!(rows(&shop).await, (0, 0, 0));
    assert_eq!(shop.number("SELECT sum(on_hand)::bigint FROM stock").await, 14);
    assert_eq!(shop.number("SELECT count(*) FROM coupon WHERE used_by_order_id IS NOT NULL").await, 0);
    // What was refused may be tried again under the same key.
    assert!(checkout.complete(request(1, "b", &[(1, 5)], Some(1))).await.is_ok());
}

async fn one_refused_order_never_fails_its_neighbours(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 3)]).await;
    let requests = vec![
        request(1, "a", &[(1, 1)], None),
        request(2, "b", &[(99, 1)], None),
        request(3, "c", &[(1, 5)], None),
        request(4, "d", &[(1, 2)], None),
        request(5, "e", &[(1, 1)], None),
    ];
    let outcome = in_transaction(&shop.database, move |transaction| {
        async move { complete_orders(transaction, &requests, "order-completed", chrono::Utc::now).await }
            .boxed()
    });
    let Outcome::Committed(results) = outcome.await else { panic!("not committed") };
    let bought: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(bought, [true, false, false, true, false]);
    assert_eq!(rows(&shop).await, (2, 2, 2));
    assert_eq!(shop.number("SELECT on_hand FROM stock").await, 0);
}

async fn a_repeated_request_is_answered_with_the_stored_order(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5), (20, 5)]).await;
    issue_coupon(&shop, 1, 7).await;
    let repeated = || request(1, "k", &[(2, 1), (1, 2)], Some(1));
    let first = shop.checkout().place(repeated()).await.unwrap();
    let second = shop.checkout().place(repeated()).await.unwrap();
    assert_eq!(first.order, second.order);
    assert_eq!((first.is_new, second.is_new), (true, false));
    assert_eq!(rows(&shop).await, (1, 2, 1));
    assert_eq!(shop.number("SELECT on_hand FROM stock WHERE product_id = 1").await, 3);
}

async fn a_key_that_bought_another_order_is_refused(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5), (10, 5)]).await;
    shop.checkout().complete(request(1, "k", &[(1, 1)], None)).await.unwrap();
    let error = shop.checkout().complete(request(1, "k", &[(2, 1)], None)).await.unwrap_err();
    assert!(matches!(error, CheckoutError::KeyReused), "{error:?}");
    assert_eq!(rows(&shop).await, (1, 1, 1));
}

async fn the_key_of_another_user_is_another_key(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5)]).await;
    for user in [1, 2] {
        shop.checkout().complete(request(user, "k", &[(1, 1)], None)).await.unwrap();
    }
    assert_eq!(rows(&shop).await, (2, 2, 2));
}

async fn a_flash_sale_sells_what_is_there_and_no_more(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 30)]).await;
    let checkout = shop.checkout();
    let buyers = (1..=60).map(|user| checkout.complete(request(user, "k", &[(1, 1)], None)));
    let answers = join_all(buyers).await;
    let out_of_stock = |answer: &Result<_, CheckoutError>| {
        matches!(answer, Err(CheckoutError::Refused(OrderRefusal::OutOfStock(_))))
    };
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 30);
    assert_eq!(answers.iter().filter(|answer| out_of_stock(answer)).count(), 30);
    assert_eq!(rows(&shop).await, (30, 30, 30));
    assert_eq!(shop.number("SELECT on_hand FROM stock").await, 0);
}

/// One order for everybody, so that transactions of several replicas never wait for each other in a circle: a basket the wrong way
/// round has, while the row in the middle is held, the first one and neither the last nor the coupon.
async fn rows_are_locked_in_the_order_of_their_ids_and_stock_before_coupons(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5), (10, 5), (10, 5)]).await;
    issue_coupon(&shop, 1, 1).await;
    let operator = shop.session().await;
    operator.batch_execute("BEGIN; SELECT * FROM stock WHERE product_id = 2 FOR UPDATE").await.unwrap();
    let checkout = shop.checkout();
    let buying = checkout.complete(request(1, "k", &[(3, 1), (2, 1), (1, 1)], Some(1)));
    let looking = async {
        shop.until_locked(1).await;
        let free = "SELECT coalesce(sum(id), 0)::bigint FROM (SELECT $id AS id FROM $table FOR UPDATE SKIP LOCKED) AS free";
        let free = |table, id| free.replace("$table", table).replace("$id", id);
        assert_eq!(shop.number(&free("stock", "product_id")).await, 3);
        assert_eq!(shop.number(&free("coupon", "id")).await, 1);
        operator.batch_execute("ROLLBACK").await.unwrap();
    };
    let (bought, ()) = join!(buying, looking);
    bought.unwrap();
}

async fn a_locked_product_is_unavailable_and_nothing_is_done(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5)]).await;
    let impatient = settings_but(&shop.own.url(), &[("DATABASE__LOCK_TIMEOUT", "10ms")]);
    let checkout = checkout_on(Database::new(&impatient.database).unwrap());
    let operator = shop.session().await;
    operator.batch_execute("BEGIN; SELECT * FROM stock FOR UPDATE").await.unwrap();
    let error = checkout.complete(request(1, "k", &[(1, 1)], None)).await.unwrap_err();
    assert!(matches!(error, CheckoutError::Unavailable(_)), "{error:?}");
    operator.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(rows(&shop).await, (0, 0, 0));
    assert!(shop.checkout().complete(request(1, "k", &[(1, 1)], None)).await.is_ok());
}

/// What an order with a coupon runs; each must be there once, under a name, after several orders.
const STATEMENTS: [&str; 9] = [
    "SELECT \"stock\"",
    "SELECT \"coupon\"",
    "SELECT o.id",
    "SELECT nextval",
    "UPDATE stock",
    "UPDATE coupon",
    "INSERT INTO orders",
    "INSERT INTO order_line",
    "INSERT INTO outbox",
];

async fn statements_are_prepared_once(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 1000)]).await;
    let checkout = shop.checkout();
    for order in 1..=10_i64 {
        issue_coupon(&shop, 1, 1).await;
        let items: Vec<(i64, u32)> = (0..=order % 3).map(|_| (1, 1)).collect();
        checkout.complete(request(1, &format!("k{order}"), &items, Some(order))).await.unwrap();
    }
    // The orders came one after the other, so they all had the pool's one session, and this has it too.
    for statement in STATEMENTS {
        let outcome =
            in_transaction(&shop.database, move |transaction| prepared(transaction, statement).boxed());
        let Outcome::Committed(count) = outcome.await else { panic!("not committed") };
        assert_eq!(count, 1, "{statement}");
    }
}

async fn prepared(transaction: &mut Transaction, statement: &str) -> Result<i64, DatabaseError> {
    use diesel::sql_types::BigInt;
    use diesel_async::RunQueryDsl;
    let count = "(SELECT count(*) FROM pg_prepared_statements WHERE starts_with(statement, '";
    let count = diesel::dsl::sql::<BigInt>(&format!("{count}{statement}'))"));
    Ok(diesel::select(count).get_result(transaction.session()).await?)
}
