//! A COMMIT whose answer is lost is looked for at once, by the same orders on another connection: each buyer of the batch gets
//! the true answer, or is told that it is unknown and learns it by his key. A single order over HTTP:
//! `crash_points::at_commit`.

use crate::cases;
use crate::crash_points::verdict::Verdict;
use crate::held_desk::HeldDesk;
use crate::requests::request;
use crate::rig::{Rig, Shop, checkout_on, checkout_within, settings};
use engines::tcp_proxy::{Break, Commit, TcpProxy};
use futures_util::future::join_all;
use order_service::checkout::error::CheckoutError;
use order_service::domain::order::OrderRefusal;
use order_service::storage::database::Database;
use std::sync::Arc;
use std::time::Duration;

cases!(
    every_order_of_a_lost_batch_gets_its_own_true_answer,
    a_lost_commit_without_a_database_is_unknown_and_its_key_tells_later,
);

/// A database whose way leads through a proxy.
async fn through_proxy(rig: &Rig, shop: &Shop) -> (TcpProxy, Database) {
    let proxy = TcpProxy::start(rig.address()).await.unwrap();
    let database = Database::new(&settings(&proxy.url(&shop.own.url())).database).unwrap();
    (proxy, database)
}

async fn every_order_of_a_lost_batch_gets_its_own_true_answer(rig: Arc<Rig>) {
    for commit in [Commit::Answered, Commit::NotSent] {
        let (shop, mut verdict) = (rig.shop().await, Verdict::default());
        shop.stock(&[(10, 20)]).await;
        let (proxy, database) = through_proxy(&rig, &shop).await;
        let orders: Vec<_> = (1..=30).map(|user| request(user, "k", &[(1, 1)], None)).collect();
        // More than there is: it buys nothing and has no COMMIT, so the next one is the batch's.
        let too_much = request(99, "first", &[(1, 21)], None);
        let held = HeldDesk::by(too_much, &shop, &checkout_on(database)).await;
        let placed = held.place(orders.clone()).await;
        proxy.arm(commit, Break::Cut);
        held.let_go().await.unwrap_err();
        let answers = join_all(placed).await;
        proxy.struck().await;
        for (order, answer) in orders.iter().zip(answers) {
            let answer = answer.unwrap();
            // First come, first served, in the lost transaction and in the one that looks for it.
            let bought = order.basket.user_id.0 <= 20;
            let refused = matches!(answer, Err(CheckoutError::Refused(OrderRefusal::OutOfStock(_))));
            assert_eq!((answer.is_ok(), refused), (bought, !bought), "{commit:?}: {answer:?}");
            verdict.answered(order, &answer);
        }
        verdict.kept_with(&shop, 20, 0).await;
        assert_eq!(shop.number("SELECT count(DISTINCT xmin::text) FROM orders").await, 1, "{commit:?}");
    }
}

async fn a_lost_commit_without_a_database_is_unknown_and_its_key_tells_later(rig: Arc<Rig>) {
    for commit in [Commit::Answered, Commit::NotSent] {
        let (shop, mut verdict) = (rig.shop().await, Verdict::default());
        shop.stock(&[(10, 5)]).await;
        let (proxy, database) = through_proxy(&rig, &shop).await;
        // The session is there before the way is closed.
        drop(database.session().await.unwrap());
        let hurried = checkout_within(database, Duration::from_secs(1));
        proxy.arm(commit, Break::Cut);
        proxy.refuse(true);
        let order = request(1, "k", &[(1, 1)], None);
        let unknown = hurried.complete(order.clone()).await;
        assert!(matches!(unknown, Err(CheckoutError::OutcomeUnknown(_))), "{commit:?}: {unknown:?}");
        let answer = shop.checkout().complete(order.clone()).await;
        assert!(answer.is_ok(), "{commit:?}: {answer:?}");
        verdict.answered(&order, &unknown);
        verdict.answered(&order, &answer);
        verdict.kept_with(&shop, 1, 4).await;
    }
}
