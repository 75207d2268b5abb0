//! P18: an operator holds one product, or the database rejects one order. Their neighbours are bought.

use super::verdict::Verdict;
use crate::cases;
use crate::metrics::until;
use crate::rig::Rig;
use crate::running::Running;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;

cases!(
    other_products_sell_on_while_an_operator_holds_one,
    other_products_sell_on_while_an_operator_holds_the_row_that_order_lines_refer_to,
    one_order_that_the_database_rejects_fails_alone,
);

const PRODUCTS: usize = 30;
const HELD: i64 = 7;
/// In the first round the desk learns what is held, in the next ones it knows.
const ROUNDS: usize = 3;

async fn other_products_sell_on_while_an_operator_holds_one(rig: Arc<Rig>) {
    sell_on_beside(&rig, &format!("SELECT * FROM stock WHERE product_id = {HELD} FOR UPDATE")).await;
}

async fn other_products_sell_on_while_an_operator_holds_the_row_that_order_lines_refer_to(rig: Arc<Rig>) {
    sell_on_beside(&rig, &format!("SELECT * FROM product WHERE id = {HELD} FOR UPDATE")).await;
}

async fn sell_on_beside(rig: &Rig, lock: &str) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 10); PRODUCTS]).await;
    // A product is wanted by two buyers, who may wait for each other, but not for so long.
    let service = Running::start_with(&shop, &[("DATABASE__LOCK_TIMEOUT", "1s")]).await;
    let operator = shop.session().await;
    operator.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
    let mut verdict = Verdict::default();
    let order = |key: String, (product, user): (i64, i64)| {
        let buying = service.orders_one(user, &key, product);
        async move { (key, product, user, buying.await.expect("an answer")) }
    };
    for round in 0..ROUNDS {
        let wanted = (1_i64..).take(PRODUCTS).flat_map(|product| [(product, 1), (product, 2)]);
        let orders = wanted.map(|(product, user)| order(format!("{round}/{product}"), (product, user)));
        for (key, product, user, (status, answer)) in join_all(orders).await {
            verdict.answered_http(user, &key, Some((status, &answer)));
            if product == HELD {
                assert_eq!((status, &answer["type"]), (503, &json!("/problems/unavailable")), "{answer}");
            } else {
                assert_eq!(status, 201, "product {product}: {answer}");
            }
        }
    }
    operator.batch_execute("ROLLBACK").await.unwrap();
    let again = [(HELD, 1), (HELD, 2)].map(|wanted| order(format!("0/{HELD}"), wanted));
    for (key, _, user, (status, answer)) in join_all(again).await {
        assert_eq!(status, 201, "{answer}");
        verdict.answered_http(user, &key, Some((status, &answer)));
    }
    verdict.kept_with(&shop, 176, 124).await;
    service.stop().await;
}

const REJECTED: i64 = 13;
const BUYERS: i64 = 40;
const WAITING: &str = r#"order_service_desk_waiting_orders{lane="fast"}"#;

/// They are one batch: they wait behind an order that waits for an operator.
async fn one_order_that_the_database_rejects_fails_alone(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 100), (70, 100)]).await;
    shop.execute(&format!("ALTER TABLE orders ADD CONSTRAINT rejected CHECK (user_id <> {REJECTED})")).await;
    let service = Running::start(&shop).await;
    let operator = shop.session().await;
    operator.batch_execute("BEGIN; SELECT * FROM stock FOR UPDATE").await.unwrap();
    let mut verdict = Verdict::default();
    let first = tokio::spawn(service.orders_one(99, "k", 1));
    shop.until_locked(1).await;
    let others = (1..=BUYERS).map(|user| tokio::spawn(service.orders_one(user, "k", 1 + user % 2)));
    let others: Vec<_> = others.collect();
    until(&service, WAITING, 40.0).await;
    operator.batch_execute("ROLLBACK").await.unwrap();
    for (user, answer) in (1..=BUYERS).zip(join_all(others).await).chain([(99, first.await)]) {
        let (status, answer) = answer.unwrap().expect("an answer");
        let expected: (u16, Option<Value>) =
            if user == REJECTED { (500, Some(json!("/problems/internal"))) } else { (201, None) };
        assert_eq!((status, answer.get("type").cloned()), expected, "user {user}: {answer}");
        verdict.answered_http(user, "k", Some((status, &answer)));
    }
    verdict.kept_with(&shop, 40, 160).await;
    service.stop().await;
}
