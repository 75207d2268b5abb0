//! A row that an operator holds, beside rows that buyers lock and free again all the time: only the first is held. What was
//! bought before is told all the same.

use crate::cases;
use crate::requests::request;
use crate::rig::{Rig, checkout_on, settings_with};
use crate::running::Running;
use order_service::checkout::Checkout;
use order_service::checkout::error::CheckoutError;
use order_service::storage::database::Database;
use order_service::storage::held_rows::{HeldThing, look};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

cases!(
    a_product_that_everybody_buys_is_not_taken_for_one_that_an_operator_holds,
    a_row_that_changes_hands_has_another_holder,
    a_repeat_of_an_order_is_told_while_its_product_is_held,
);

const HELD: i64 = 1;
const HOT: i64 = 2;
const BUYERS: i64 = 8;

async fn buy_on(replica: Checkout, user: i64, until: Arc<AtomicBool>) -> i64 {
    let mut bought = 0;
    while !until.load(Ordering::Relaxed) {
        let key = format!("hot{bought}");
        replica.complete(request(user, &key, &[(HOT, 1)], None)).await.expect("the hot product is sold");
        bought += 1;
    }
    bought
}

async fn a_product_that_everybody_buys_is_not_taken_for_one_that_an_operator_holds(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 1_000_000), (10, 1_000_000)]).await;
    // Waits for a row until PostgreSQL says that it is the operator's; a busy row is had long before.
    let changes = [("DATABASE__URL", shop.own.url()), ("DATABASE__LOCK_TIMEOUT", "1s".to_owned())];
    let changes: Vec<_> = changes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let replica = || checkout_on(Database::new(&settings_with(&changes).database).unwrap());
    let (ours, other) = (replica(), replica());
    let operator = shop.session().await;
    operator.batch_execute("BEGIN; SELECT * FROM stock WHERE product_id = 1 FOR UPDATE").await.unwrap();

    let over = Arc::new(AtomicBool::new(false));
    let buyers: Vec<_> = (1..=BUYERS)
        .map(|user| {
            let desk = if user % 2 == 0 { ours.clone() } else { other.clone() };
            tokio::spawn(buy_on(desk, user, over.clone()))
        })
        .collect();
    for round in 0..3 {
        let key = format!("both{round}");
        let answer = ours.complete(request(100, &key, &[(HELD, 1), (HOT, 1)], None)).await;
        assert!(matches!(answer, Err(CheckoutError::Unavailable(_))), "{answer:?}");
    }
    operator.batch_execute("ROLLBACK").await.unwrap();
    ours.complete(request(100, "after", &[(HELD, 1), (HOT, 1)], None)).await.expect("both are to be had");
    over.store(true, Ordering::Relaxed);
    let mut sold = 1;
    for buyer in buyers {
        sold += buyer.await.expect("nobody was refused the hot product");
    }
    assert_eq!(shop.number("SELECT 1000000 - on_hand FROM stock WHERE product_id = 2").await, sold);
}

/// A row is locked at every look, by one operator for two of them, by another then.
async fn a_row_that_changes_hands_has_another_holder(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5), (10, 5)]).await;
    shop.execute("INSERT INTO coupon (user_id, discount_amount) VALUES (1, 1)").await;
    for (lock, thing) in [
        ("SELECT * FROM stock WHERE product_id = 1 FOR UPDATE", HeldThing::Stock(1)),
        ("UPDATE stock SET price = 11 WHERE product_id = 1", HeldThing::Stock(1)),
        ("SELECT * FROM product WHERE id = 1 FOR UPDATE", HeldThing::Product(1)),
        ("SELECT * FROM coupon FOR UPDATE", HeldThing::Coupon(1)),
    ] {
        let session = shop.database.session().await.unwrap();
        let look = async || look(&session, &[1, 2], &[1]).await.unwrap();
        assert_eq!(look().await, [], "{lock}");
        let [first, second] = [shop.session().await, shop.session().await];
        first.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
        let held = look().await;
        assert_eq!(held.iter().map(|row| row.thing).collect::<Vec<_>>(), [thing], "{lock}");
        assert_eq!(look().await, held, "{lock}");
        first.batch_execute("COMMIT").await.unwrap();
        second.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
        let taken = look().await;
        assert_eq!(taken.iter().map(|row| row.thing).collect::<Vec<_>>(), [thing], "{lock}");
        assert_ne!(taken, held, "{lock}");
        second.batch_execute("COMMIT").await.unwrap();
    }
}

/// In the fast lane, from which it would be set aside, and in the slow one, which would refuse it.
async fn a_repeat_of_an_order_is_told_while_its_product_is_held(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5)]).await;
    let service = Running::start_with(&shop, &[("DATABASE__LOCK_TIMEOUT", "1s")]).await;
    let (status, bought) = service.orders_one(1, "k", 1).await.unwrap();
    assert_eq!(status, 201, "{bought}");
    let operator = shop.session().await;
    operator.batch_execute("BEGIN; SELECT * FROM stock FOR UPDATE").await.unwrap();
    for lane in ["fast", "slow"] {
        assert_eq!(service.orders_one(1, "k", 1).await.unwrap(), (201, bought.clone()), "{lane}");
        let other = json!({"userId": 1, "items": [{"productId": 1, "quantity": 2}]});
        let url = format!("http://{}/orders", service.address);
        let other =
            service.client.post(url).header("idempotency-key", "k").json(&other).send().await.unwrap();
        assert_eq!(other.status(), 422, "{lane}: another request under its key");
        let (status, not_now) = service.orders_one(2, "k", 1).await.unwrap();
        assert_eq!(status, 503, "{lane}: {not_now}");
    }
    operator.batch_execute("ROLLBACK").await.unwrap();
    service.stop().await;
}
