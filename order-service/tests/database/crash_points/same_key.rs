//! P15: the same key at once, in one process and on two replicas: one order. With another payload: the one that came first
//! is bought, the other is told that the key is used.

use super::verdict::Verdict;
use crate::cases;
use crate::held_desk::Answer;
use crate::requests::request;
use crate::rig::{Rig, Shop, checkout_on, settings};
use futures_util::future::join_all;
use order_service::checkout::Checkout;
use order_service::checkout::error::CheckoutError;
use order_service::checkout::request::OrderRequest;
use order_service::domain::order::CompletedOrder;
use order_service::storage::database::Database;
use std::sync::Arc;

cases!(
    the_same_key_many_times_at_once_in_one_process_buys_once,
    the_same_key_at_once_on_two_replicas_buys_once,
    a_twin_of_the_buyer_of_the_last_piece_is_answered_with_his_order,
    a_twin_of_the_user_of_a_coupon_is_answered_with_his_order,
    the_same_key_with_another_payload_buys_one_of_them,
);

const TIMES: usize = 12;
/// Enough of them that some meet in the middle of each other's transaction.
const ROUNDS: usize = 20;

async fn shop(rig: &Rig) -> Shop {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 100), (70, 100)]).await;
    shop
}

fn replica(shop: &Shop) -> Checkout {
    checkout_on(Database::new(&settings(&shop.own.url()).database).unwrap())
}

/// One piece of the first product.
fn one(key: &str) -> OrderRequest {
    request(1, key, &[(1, 1)], None)
}

/// Sends all at once, to each replica in turn: the one order they bought, and how many were told that the key is used.
async fn all_at_once(
    verdict: &mut Verdict,
    replicas: &[Checkout],
    requests: &[OrderRequest],
) -> (CompletedOrder, usize) {
    let answers = requests.iter().enumerate().map(|(n, request)| {
        let replica = &replicas[n % replicas.len()];
        async move { (request, replica.complete(request.clone()).await) }
    });
    let (mut bought, mut reused): (Vec<CompletedOrder>, usize) = (Vec::new(), 0);
    for (request, answer) in join_all(answers).await {
        verdict.answered(request, &answer);
        match answer {
            Ok(order) => bought.push(order),
            Err(CheckoutError::KeyReused) => reused += 1,
            Err(error) => panic!("{request:?}: {error}"),
        }
    }
    bought.dedup();
    assert_eq!(bought.len(), 1, "{bought:?}");
    (bought.remove(0), reused)
}

async fn the_same_key_many_times_at_once_in_one_process_buys_once(rig: Arc<Rig>) {
    let (shop, mut verdict) = (shop(&rig).await, Verdict::default());
    let (_, reused) = all_at_once(&mut verdict, &[shop.checkout()], &vec![one("k"); TIMES]).await;
    assert_eq!(reused, 0);
    verdict.kept_with(&shop, 1, 199).await;
}

async fn the_same_key_at_once_on_two_replicas_buys_once(rig: Arc<Rig>) {
    let (shop, mut verdict) = (shop(&rig).await, Verdict::default());
    let replicas = [replica(&shop), replica(&shop)];
    for round in 0..ROUNDS {
        let twins = vec![one(&format!("k{round}")); TIMES];
        assert_eq!(all_at_once(&mut verdict, &replicas, &twins).await.1, 0);
    }
    verdict.kept_with(&shop, ROUNDS, 180).await;
}

/// The first is in the middle of its COMMIT when its twin, on another replica, comes to the locked rows.
async fn twins(shop: &Shop, twin: &OrderRequest, verdict: &mut Verdict) -> [Answer; 2] {
    shop.commits_wait("orders").await;
    let operator = shop.session().await;
    operator.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let mut placed = Vec::new();
    for (replica, waiting) in [replica(shop), replica(shop)].into_iter().zip(1..) {
        let twin = twin.clone();
        placed.push(tokio::spawn(async move { replica.complete(twin).await }));
        shop.until_locked(waiting).await;
    }
    operator.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    let answers: Vec<Answer> = join_all(placed).await.into_iter().map(Result::unwrap).collect();
    for answer in &answers {
        verdict.answered(twin, answer);
    }
    answers.try_into().unwrap()
}

/// One that had not looked for its twin after the lock would find nothing left.
async fn a_twin_of_the_buyer_of_the_last_piece_is_answered_with_his_order(rig: Arc<Rig>) {
    let (shop, mut verdict) = (rig.shop().await, Verdict::default());
    shop.stock(&[(1500, 1)]).await;
    let [first, second] = twins(&shop, &one("k"), &mut verdict).await;
    assert!(first.is_ok(), "{first:?}");
    assert_eq!(first, second);
    verdict.kept_with(&shop, 1, 0).await;
}

/// Such a one would find the coupon used.
async fn a_twin_of_the_user_of_a_coupon_is_answered_with_his_order(rig: Arc<Rig>) {
    let (shop, mut verdict) = (rig.shop().await, Verdict::default());
    shop.stock(&[(1500, 9)]).await;
    shop.execute("INSERT INTO coupon (user_id, discount_amount) VALUES (1, 500)").await;
    let [first, second] = twins(&shop, &request(1, "k", &[(1, 1)], Some(1)), &mut verdict).await;
    assert!(first.is_ok(), "{first:?}");
    assert_eq!(first, second);
    verdict.kept_with(&shop, 1, 8).await;
}

/// At one desk the second waits until the key of the first is answered. Two replicas meet at the lock of the product, both with
/// the first.
async fn the_same_key_with_another_payload_buys_one_of_them(rig: Arc<Rig>) {
    for (replicas, other) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
        let (shop, mut verdict) = (shop(&rig).await, Verdict::default());
        let replicas: Vec<Checkout> = (0..replicas).map(|_| replica(&shop)).collect();
        let mut left = 200;
        for round in 0..ROUNDS {
            let key = format!("k{round}");
            let twins = [one(&key), request(1, &key, &[(other, 2)], None)];
            let requests: Vec<OrderRequest> = (0..TIMES).map(|n| twins[n / 2 % 2].clone()).collect();
            let (bought, reused) = all_at_once(&mut verdict, &replicas, &requests).await;
            // Each replica decides the one that came first to it; the other waits for the key, so it comes too late on both.
            assert_eq!(reused, TIMES / 2);
            left -= i64::from(bought.lines[0].quantity);
        }
        let counts = verdict.kept(&shop).await;
        assert_eq!(counts.orders, ROUNDS, "{counts:?}");
        assert_eq!(shop.number("SELECT sum(on_hand)::bigint FROM stock").await, left);
    }
}
