//! What a batch costs on the way to the database: four round trips, however many orders it has, and no statement that is
//! prepared again. The proxy keeps answers back until all requests of a round trip are there, so a statement that waits for another
//! one, or for its preparation, is stuck; what is stuck is seen by how far it came, and only then by a clock.

use crate::cases;
use crate::held_desk::HeldDesk;
use crate::lost_commits::through_proxy;
use crate::requests::{request, rows};
use crate::rig::{Rig, checkout_on};
use engines::tcp_proxy::{Passed, TcpProxy};
use futures_util::future::join_all;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

cases!(
    an_order_is_four_round_trips_and_prepares_nothing_that_was_prepared,
    a_batch_is_four_round_trips_however_many_orders_it_has,
);

/// Much longer than one takes.
const STUCK: Duration = Duration::from_secs(20);

const BEGIN: usize = 1;
/// Stock, coupons, request keys, order ids.
const LOCK_AND_LOOK_UP: usize = 4;
/// The lines of orders that are asked for again.
const LINES: usize = 1;
/// Stock, orders, lines, events.
const WRITE: usize = 4;
const WRITE_WITH_COUPONS: usize = WRITE + 1;
const COMMIT: usize = 1;
const ROLLBACK: usize = 1;

/// These round trips, and nothing else on the wire.
async fn takes<T>(proxy: &TcpProxy, trips: &[usize], what: &str, work: impl Future<Output = T>) -> T {
    proxy.expect_round_trips(trips);
    let done = timeout(STUCK, work).await;
    let (passed, requests) = (proxy.passed(), trips.iter().sum());
    let done =
        done.unwrap_or_else(|_| panic!("{what}: it needs more round trips than {trips:?}: {passed:?}"));
    assert_eq!(passed, Passed { requests, answers: requests, prepared: 0 }, "{what}");
    done
}

async fn an_order_is_four_round_trips_and_prepares_nothing_that_was_prepared(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 1000), (20, 1000)]).await;
    shop.execute(COUPONS).await;
    let (proxy, database) = through_proxy(&rig, &shop).await;
    let checkout = checkout_on(database);
    let first = request(1, "first", &[(1, 1)], Some(1));
    for _repeat in 0..2 {
        // Also the statement that reads lines.
        checkout.complete(first.clone()).await.unwrap();
    }
    assert!(proxy.passed().prepared >= LOCK_AND_LOOK_UP + LINES + WRITE_WITH_COUPONS, "on a new session");

    for (what, writes, order) in [
        ("with a coupon", WRITE_WITH_COUPONS, request(2, "k", &[(1, 1)], Some(2))),
        ("without", WRITE, request(3, "k", &[(2, 1), (1, 2)], None)),
    ] {
        let trips = [BEGIN, LOCK_AND_LOOK_UP, writes, COMMIT];
        takes(&proxy, &trips, what, checkout.complete(order)).await.unwrap();
    }
    let trips = [BEGIN, LOCK_AND_LOOK_UP, LINES, ROLLBACK];
    takes(&proxy, &trips, "a repeat", checkout.complete(first)).await.unwrap();
    let too_much = request(4, "k", &[(1, 1_000_000)], None);
    let trips = [BEGIN, LOCK_AND_LOOK_UP, ROLLBACK];
    takes(&proxy, &trips, "a refusal", checkout.complete(too_much)).await.unwrap_err();
}

/// As many as go into one of this desk's.
async fn a_batch_is_four_round_trips_however_many_orders_it_has(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(10, 1000)]).await;
    shop.execute(COUPONS).await;
    let (proxy, database) = through_proxy(&rig, &shop).await;
    let checkout = checkout_on(database);
    let first = request(1, "first", &[(1, 1)], Some(1));
    for _repeat in 0..2 {
        checkout.complete(first.clone()).await.unwrap();
    }
    let order = |user: i64, key: &str| request(user, key, &[(1, 1)], Some(user));
    let new = (2..=65).map(|user| order(user, "k")).collect::<Vec<_>>();
    let with_a_repeat = (67..=129).map(|user| order(user, "k")).chain([first]).collect::<Vec<_>>();
    for (what, holder, orders, more) in
        [("new", 2000, new, None), ("with a repeat", 2001, with_a_repeat, Some(LINES))]
    {
        assert_eq!(orders.len(), 64);
        // Begun already, and waits for the operator: its locks are on their way.
        let held = HeldDesk::by(request(holder, "holder", &[(1, 1)], None), &shop, &checkout).await;
        let placed = held.place(orders).await;
        let holders = [LOCK_AND_LOOK_UP, WRITE, COMMIT];
        let batch = [Some(BEGIN), Some(LOCK_AND_LOOK_UP), more, Some(WRITE_WITH_COUPONS), Some(COMMIT)];
        let trips: Vec<usize> = holders.into_iter().chain(batch.into_iter().flatten()).collect();
        let bought = async {
            held.let_go().await.unwrap();
            join_all(placed).await
        };
        for answer in takes(&proxy, &trips, what, bought).await {
            answer.unwrap().unwrap();
        }
    }
    assert_eq!(rows(&shop).await.0, 1 + 1 + 64 + 1 + 63);
    assert_eq!(shop.number("SELECT count(DISTINCT xmin::text) FROM orders").await, 5, "one transaction each");
}

const COUPONS: &str =
    "INSERT INTO coupon (user_id, discount_amount) SELECT u, 1 FROM generate_series(1, 200) AS u";
