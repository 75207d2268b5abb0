//! A COMMIT whose answer is lost is looked for at once, by the same orders on another connection: each buyer of the batch gets
//! the true answer, or is told that it is unknown and learns it by his key. A single order over HTTP:
//! `crash_points::at_commit`.

use crate::cases;
use crate::crash_points::verdict::Verdict;
use crate::held_desk::HeldDesk;
use crate::metrics::{page, value};
use crate::pool_share::until_asked_for;
use crate::requests::request;
use crate::rig::{Rig, Shop, checkout_on, checkout_within, settings};
use crate::running::Running;
use engines::tcp_proxy::{Break, Commit, TcpProxy};
use futures_util::future::join_all;
use order_service::checkout::error::CheckoutError;
use order_service::domain::order::OrderRefusal;
use order_service::storage::database::Database;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

cases!(
    every_order_of_a_lost_batch_gets_its_own_true_answer,
    a_lost_commit_without_a_database_is_unknown_and_its_key_tells_later,
    a_lost_commit_that_still_holds_its_product_does_not_stop_the_shop,
    a_stop_waits_until_it_is_known_what_became_of_a_lost_commit,
    searches_for_lost_commits_take_no_session_from_those_who_sell,
);

const RECOVERING: &str = "order_service_desk_recovering_orders";

/// A database whose way leads through a proxy.
pub(crate) async fn through_proxy(rig: &Rig, shop: &Shop) -> (TcpProxy, Database) {
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

/// The service has lost its connection, the server does not know of it: so long the lost transaction has the row.
async fn a_lost_commit_that_still_holds_its_product_does_not_stop_the_shop(rig: Arc<Rig>) {
    let (shop, mut verdict) = (rig.shop().await, Verdict::default());
    shop.stock(&[(10, 5), (10, 5)]).await;
    let proxy = TcpProxy::start(rig.address()).await.unwrap();
    let url = proxy.url(&shop.own.url());
    let settings = [("DATABASE__URL", url.as_str()), ("DATABASE__LOCK_TIMEOUT", "200ms")];
    let service = Running::start_with(&shop, &settings).await;
    proxy.arm(Commit::NotSent, Break::HalfOpen);
    let lost = tokio::spawn(service.orders_one(1, "k", 1));
    proxy.struck().await;

    for (user, product, status) in [(2, 2, 201), (3, 1, 503), (4, 2, 201), (5, 1, 503)] {
        let (got, answer) = service.orders_one(user, "k", product).await.unwrap();
        assert_eq!(got, status, "user {user}: {answer}");
        verdict.answered_http(user, "k", Some((got, &answer)));
    }
    let repeat = tokio::spawn(service.orders_one(1, "k", 1));
    assert_eq!(value(&page(&service).await, RECOVERING).to_string(), "1");
    assert!(!lost.is_finished() && !repeat.is_finished(), "it is looked for still");

    proxy.cut();
    let (first, second) = (lost.await.unwrap().unwrap(), repeat.await.unwrap().unwrap());
    assert_eq!((first.0, &first), (201, &second));
    verdict.answered_http(1, "k", Some((201, &first.1)));
    verdict.answered_http(1, "k", Some((201, &second.1)));
    assert_eq!(value(&page(&service).await, RECOVERING).to_string(), "0");
    verdict.kept_with(&shop, 3, 7).await;
    service.stop().await;
}

async fn a_stop_waits_until_it_is_known_what_became_of_a_lost_commit(rig: Arc<Rig>) {
    let (shop, mut verdict) = (rig.shop().await, Verdict::default());
    shop.stock(&[(10, 5)]).await;
    let (proxy, database) = through_proxy(&rig, &shop).await;
    let checkout = checkout_on(database);
    proxy.arm(Commit::NotSent, Break::HalfOpen);
    let order = request(1, "k", &[(1, 1)], None);
    let lost = tokio::spawn({
        let (checkout, order) = (checkout.clone(), order.clone());
        async move { checkout.complete(order).await }
    });
    proxy.struck().await;
    // The search waits for the lost transaction.
    shop.until_locked(1).await;
    let closing = tokio::spawn(async move { checkout.close().await });
    shop.until_locked(1).await;
    assert!(!closing.is_finished() && !lost.is_finished());
    proxy.cut();
    let answer = lost.await.unwrap();
    closing.await.unwrap();
    assert!(answer.is_ok(), "{answer:?}");
    verdict.answered(&order, &answer);
    verdict.kept_with(&shop, 1, 4).await;
}

/// As many as there may be, beside readers that have all of the pool that they can get, and an order that waits in the slow lane.
async fn searches_for_lost_commits_take_no_session_from_those_who_sell(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 5), (10, 5), (10, 5), (10, 5)]).await;
    let proxy = TcpProxy::start(rig.address()).await.unwrap();
    let url = proxy.url(&shop.own.url());
    let service =
        Running::start_with(&shop, &[("DATABASE__URL", url.as_str()), ("DATABASE__POOL_SIZE", "5")]).await;
    let mut lost = Vec::new();
    for product in [1, 2] {
        proxy.arm(Commit::NotSent, Break::HalfOpen);
        lost.push(tokio::spawn(service.orders_one(1, &product.to_string(), product)));
        proxy.struck().await;
        shop.until_locked(product).await;
    }
    let operator = shop.session().await;
    operator.batch_execute("BEGIN; SELECT * FROM stock WHERE product_id = 3 FOR UPDATE").await.unwrap();
    let restock = format!("http://{}/products/3/restock", service.address);
    let readers: Vec<_> = (0..5)
        .map(|_| tokio::spawn(service.client.post(&restock).json(&json!({"quantity": 1})).send()))
        .collect();
    until_asked_for(&service, 2.0 + 5.0).await;
    let (status, answer) = service.orders_one(1, "sells", 4).await.unwrap();
    assert_eq!(status, 201, "{answer}");
    assert!(!lost.iter().any(JoinHandle::is_finished) && !readers.iter().any(JoinHandle::is_finished));
    operator.batch_execute("ROLLBACK").await.unwrap();
    proxy.cut();
    for order in lost {
        let (status, answer) = order.await.unwrap().unwrap();
        assert_eq!(status, 201, "{answer}");
    }
    join_all(readers).await;
    service.stop().await;
}
