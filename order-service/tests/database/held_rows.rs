//! A row that an operator holds, beside rows that buyers lock and free again all the time: only the first is held.

use crate::cases;
use crate::requests::request;
use crate::rig::{Rig, checkout_on, settings_with};
use order_service::checkout::Checkout;
use order_service::checkout::error::CheckoutError;
use order_service::storage::database::Database;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

cases!(a_product_that_everybody_buys_is_not_taken_for_one_that_an_operator_holds);

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
