//! P1 and P8: it ends before COMMIT has succeeded, by an error, a panic, or the death of the process; or work swallows an
//! error of the database. Nothing is published, stock and coupon are untouched, nobody is told that he has bought.

use super::HOLD_EVENTS;
use super::process::ServiceProcess;
use super::verdict::Verdict;
use crate::cases;
use crate::requests::request;
use crate::rig::{Rig, Shop};
use crate::running::Running;
use futures_util::{FutureExt, join, try_join};
use order_service::checkout::complete_orders::complete_orders;
use order_service::checkout::error::CheckoutError;
use order_service::domain::order::CompletedOrder;
use order_service::storage::error::DatabaseError;
use order_service::storage::orders::{self, NewOrders};
use order_service::storage::transaction_completion::{Outcome, RollbackCause, in_transaction};
use order_service::storage::{Session, coupons, stock};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

cases!(
    an_order_that_fails_at_its_last_row_takes_neither_stock_nor_coupon,
    an_order_whose_work_fails_takes_neither_stock_nor_coupon,
    an_order_whose_work_panics_takes_neither_stock_nor_coupon,
    an_order_whose_last_writes_panic_takes_neither_stock_nor_coupon,
    an_order_whose_work_swallows_a_database_error_is_not_bought,
    a_commit_that_the_database_refuses_is_no_201,
    a_service_killed_before_commit_has_sold_nothing,
    a_service_killed_during_commit_has_sold_once_and_a_repeat_says_so,
);

const REFUSED_EVENT: &str = "ALTER TABLE outbox ADD CONSTRAINT no_event CHECK (false) NOT VALID";

async fn shop_with_coupon(rig: &Rig) -> Shop {
    let shop = rig.shop().await;
    shop.stock(&[(1500, 5)]).await;
    shop.execute("INSERT INTO coupon (user_id, discount_amount) VALUES (1, 500)").await;
    shop
}

async fn nothing_is_sold(shop: &Shop, verdict: Verdict) {
    verdict.kept_with(shop, 0, 5).await;
    assert_eq!(shop.number("SELECT count(*) FROM coupon WHERE used_by_order_id IS NOT NULL").await, 0);
}

async fn an_order_that_fails_at_its_last_row_takes_neither_stock_nor_coupon(rig: Arc<Rig>) {
    let (shop, mut verdict) = (shop_with_coupon(&rig).await, Verdict::default());
    shop.execute(REFUSED_EVENT).await;
    let order = request(1, "k", &[(1, 1)], Some(1));
    let answer = shop.checkout().complete(order.clone()).await;
    assert!(matches!(answer, Err(CheckoutError::Failed(_))), "{answer:?}");
    verdict.answered(&order, &answer);
    nothing_is_sold(&shop, verdict).await;
    shop.execute("ALTER TABLE outbox DROP CONSTRAINT no_event").await;
    // A refusal stores nothing, so the same key may buy.
    shop.checkout().complete(order).await.unwrap();
}

/// What happens after stock, coupon and order were written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Fails,
    Panics,
    Swallows,
}

/// Where it happens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Work,
    LastWrites,
}

/// Completes an order as the service does, with another ending, and tells whether the callback ran.
async fn complete_and(shop: &Shop, phase: Phase, ending: Ending) -> (Outcome<(), DatabaseError>, bool) {
    let called = Arc::new(AtomicBool::new(false));
    let callback = called.clone();
    let outcome = in_transaction(&shop.database, move |transaction| {
        async move {
            transaction.after_commit(move || callback.store(true, Ordering::SeqCst));
            let requests = [request(1, "k", &[(1, 1)], Some(1))];
            let completed = complete_orders(transaction, &requests, "order-completed", chrono::Utc::now);
            let order = completed.await?.remove(0).unwrap().order;
            // The event stays registered, the writes are ours.
            match phase {
                Phase::Work => {
                    transaction.write_last(|_| async { Ok(()) }.boxed());
                    write_and(ending, transaction.session(), order).await
                }
                Phase::LastWrites => {
                    transaction.write_last(move |session| write_and(ending, session, order).boxed());
                    Ok(())
                }
            }
        }
        .boxed()
    })
    .await;
    (outcome, called.load(Ordering::SeqCst))
}

async fn write_and(
    ending: Ending,
    mut session: &Session,
    order: CompletedOrder,
) -> Result<(), DatabaseError> {
    let (left, used_by) = ([4], [order.id.0]);
    let mut bought = NewOrders::default();
    bought.push(&order, "k".to_owned(), &[])?;
    let written = async {
        try_join!(
            stock::write_remaining(session, &[1], &left),
            coupons::mark_used(session, &[1], &used_by),
            orders::insert(session, &bought),
        )
    };
    match ending {
        Ending::Fails => {
            written.await?;
            Err(DatabaseError::Refused("on purpose".to_owned()))
        }
        Ending::Panics => {
            written.await?;
            panic!("on purpose, by a test");
        }
        Ending::Swallows => {
            use diesel_async::RunQueryDsl;
            // On the wire behind them at once, as all last statements must be.
            let swallowed = diesel::sql_query("SELECT 1 / 0").execute(&mut session);
            let (written, swallowed) = join!(written, swallowed);
            swallowed.unwrap_err();
            written.map(|_| ())
        }
    }
}

async fn an_order_whose_work_fails_takes_neither_stock_nor_coupon(rig: Arc<Rig>) {
    for phase in [Phase::Work, Phase::LastWrites] {
        let shop = shop_with_coupon(&rig).await;
        let (outcome, called) = complete_and(&shop, phase, Ending::Fails).await;
        let rolled_back = match phase {
            Phase::Work => matches!(outcome, Outcome::RolledBack(RollbackCause::Work(_))),
            Phase::LastWrites => matches!(outcome, Outcome::RolledBack(RollbackCause::Database(_))),
        };
        assert!(rolled_back && !called, "{outcome:?}");
        nothing_is_sold(&shop, Verdict::default()).await;
    }
}

async fn an_order_whose_work_panics_takes_neither_stock_nor_coupon(rig: Arc<Rig>) {
    panic_in(&rig, Phase::Work).await;
}

async fn an_order_whose_last_writes_panic_takes_neither_stock_nor_coupon(rig: Arc<Rig>) {
    panic_in(&rig, Phase::LastWrites).await;
}

async fn panic_in(rig: &Rig, phase: Phase) {
    let shop = shop_with_coupon(rig).await;
    let (outcome, called) = complete_and(&shop, phase, Ending::Panics).await;
    assert!(matches!(outcome, Outcome::RolledBack(RollbackCause::Panicked)), "{outcome:?}");
    assert!(!called);
    shop.until_settled().await;
    nothing_is_sold(&shop, Verdict::default()).await;
    // The same stock and coupon, which nobody holds any more.
    shop.checkout().complete(request(1, "k", &[(1, 1)], Some(1))).await.unwrap();
}

async fn an_order_whose_work_swallows_a_database_error_is_not_bought(rig: Arc<Rig>) {
    for phase in [Phase::Work, Phase::LastWrites] {
        let shop = shop_with_coupon(&rig).await;
        let (outcome, called) = complete_and(&shop, phase, Ending::Swallows).await;
        assert!(matches!(outcome, Outcome::RolledBack(RollbackCause::Database(_))), "{outcome:?}");
        assert!(!called);
        nothing_is_sold(&shop, Verdict::default()).await;
    }
}

async fn a_commit_that_the_database_refuses_is_no_201(rig: Arc<Rig>) {
    let (shop, mut verdict) = (shop_with_coupon(&rig).await, Verdict::default());
    // An event's row is written last; its check runs inside COMMIT.
    shop.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE check_violation; END';
         CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    .await;
    let service = Running::start(&shop).await;
    let (status, problem) = service.orders_one_with(1, "k", 1, Some(1)).await.unwrap();
    assert_eq!((status, &problem["type"]), (500, &json!("/problems/internal")), "{problem}");
    verdict.answered_http(1, "k", Some((status, &problem)));
    nothing_is_sold(&shop, verdict).await;
    service.stop().await;
}

async fn a_service_killed_before_commit_has_sold_nothing(rig: Arc<Rig>) {
    let (shop, mut verdict) = (shop_with_coupon(&rig).await, Verdict::default());
    let operator = shop.session().await;
    operator.batch_execute(HOLD_EVENTS).await.unwrap();
    let service = ServiceProcess::start(&shop).await;
    let buying = tokio::spawn(service.orders_one(1, "k", 1, Some(1)));
    shop.until_locked(1).await;
    service.kill().await;
    assert!(buying.await.unwrap().is_none(), "nobody is left to answer");
    verdict.answered_http(1, "k", None);
    operator.batch_execute("COMMIT").await.unwrap();
    shop.until_settled().await;
    nothing_is_sold(&shop, verdict).await;
}

async fn a_service_killed_during_commit_has_sold_once_and_a_repeat_says_so(rig: Arc<Rig>) {
    let (shop, mut verdict) = (shop_with_coupon(&rig).await, Verdict::default());
    shop.commits_wait("orders").await;
    let operator = shop.session().await;
    operator.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let service = ServiceProcess::start(&shop).await;
    let buying = tokio::spawn(service.orders_one(1, "k", 1, Some(1)));
    shop.until_locked(1).await;
    service.kill().await;
    assert!(buying.await.unwrap().is_none(), "nobody is left to answer");
    operator.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    shop.until_settled().await;

    let next = Running::start(&shop).await;
    let (status, order) = next.orders_one_with(1, "k", 1, Some(1)).await.unwrap();
    assert_eq!(status, 201, "{order}");
    verdict.answered_http(1, "k", Some((status, &order)));
    verdict.kept_with(&shop, 1, 4).await;
    assert_eq!(shop.number("SELECT used_by_order_id FROM coupon").await, order["orderId"]);
    next.stop().await;
}
