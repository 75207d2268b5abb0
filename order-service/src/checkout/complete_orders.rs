//! # Complete orders
//!
//! The one transaction: **lock, then look up, then decide**.
//!
//! 1. Lock the stock rows, then the coupon rows, each in the order of their ids, so that two transactions
//!    never wait for each other in a circle.
//! 2. Look up the request keys, in a statement of its own *after* the locks: a twin on another replica that was
//!    about to commit holds the same stock row, so by now it is there to be seen.
//! 3. Decide each request in its order, in plain Rust: stock check, coupon use, amounts.
//! 4. Write stock, coupons, orders and lines, and each order's event with them.
//!
//! One refused order never fails its neighbours: refusals are results, not errors. Statements that do not need
//! each other's answers are pipelined; the server runs them in the order in which they are polled here. So any
//! number of new orders costs four round trips: BEGIN; lock and look up; write; COMMIT. A fifth fetches the lines of orders
//! that are asked for again.

use super::error::CheckoutError;
use super::request::OrderRequest;
use crate::domain::ids::OrderId;
use crate::domain::order::{CompletedOrder, Counter};
use crate::domain::stock::Shelf;
use crate::outbox::message::order_completed;
use crate::storage::error::DatabaseError;
use crate::storage::orders::{self, NewOrders, RequestKey, StoredOrder};
use crate::storage::transaction_completion::{Transaction, no_answer};
use crate::storage::{Session, coupons, stock};
use chrono::{DateTime, Utc};
use futures_util::{FutureExt, try_join};
use std::collections::{BTreeSet, HashMap};
use tokio::time::timeout;
use uuid::Uuid;

/// What became of one request.
pub type Completed = Result<CompletedOrder, CheckoutError>;

/// A completed order, as one who asked for it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// The order.
    pub order: CompletedOrder,
    /// Whether it was completed for him just now. To everybody else who asks under its key it is told again.
    pub is_new: bool,
}

/// What became of one request, and whether it is news.
pub type Decided = Result<Purchase, CheckoutError>;

/// The rows that the decision needs, all locked where they can change.
struct Locked {
    counter: Counter,
    stored: HashMap<RequestKey, StoredOrder>,
    order_ids: Vec<OrderId>,
}

/// Completes, or refuses, each of `requests` in their order; the results are in the same order. No two requests
/// may have the same [`RequestKey`]. `now` is asked once, after the locks were granted. What was bought is registered
/// with the transaction, and written when it completes; when nothing was, nothing is.
///
/// # Errors
/// [`DatabaseError`]: nothing of any request is done.
pub async fn complete_orders(
    transaction: &mut Transaction,
    requests: &[OrderRequest],
    topic: &str,
    now: impl Fn() -> DateTime<Utc>,
) -> Result<Vec<Decided>, DatabaseError> {
    let Locked { mut counter, mut stored, order_ids } = lock_in_time(transaction, requests).await?;
    let now = now();
    let mut results = Vec::with_capacity(requests.len());
    let mut bought = Vec::new();
    for ((position, request), id) in requests.iter().enumerate().zip(order_ids) {
        results.push(match stored.remove(request.key()) {
            Some(earlier) => answer_repeated(request, earlier),
            None => counter
                .complete(&request.basket, id, Uuid::now_v7(), now)
                .map(|order| Purchase { order, is_new: true })
                .map_err(CheckoutError::from)
                .inspect(|_| bought.push(position)),
        });
    }
    let Some(writes) = Writes::of(&counter, requests, &results, &bought)? else { return Ok(results) };
    transaction.write_last(move |session| async move { writes.run(session).await }.boxed());
    for position in bought {
        if let Ok(Purchase { order, .. }) = &results[position] {
            let trace = requests[position].trace.clone();
            let message = order_completed(order, topic, trace);
            transaction.publish(message.map_err(|error| DatabaseError::Refused(error.to_string()))?);
        }
    }
    Ok(results)
}

async fn lock_in_time(
    transaction: &mut Transaction,
    requests: &[OrderRequest],
) -> Result<Locked, DatabaseError> {
    let (session, limit) = transaction.session_and_limit();
    timeout(limit, lock(session, requests)).await.unwrap_or_else(|_| Err(no_answer(limit)))
}

async fn lock(session: &Session, requests: &[OrderRequest]) -> Result<Locked, DatabaseError> {
    let baskets = || requests.iter().map(|request| &request.basket);
    let product_ids: BTreeSet<i64> =
        baskets().flat_map(|basket| &basket.items).map(|item| item.product_id.0).collect();
    let coupon_ids: BTreeSet<i64> = baskets().filter_map(|basket| basket.coupon_id).map(|id| id.0).collect();
    let product_ids: Vec<i64> = product_ids.into_iter().collect();
    let coupon_ids: Vec<i64> = coupon_ids.into_iter().collect();
    let user_ids: Vec<i64> = baskets().map(|basket| basket.user_id.0).collect();
    let keys: Vec<&str> = requests.iter().map(|request| request.key().key.as_str()).collect();

    let (stock, coupons, stored, order_ids) = try_join!(
        stock::lock(session, &product_ids),
        coupons::lock(session, &coupon_ids),
        orders::by_request_keys(session, &user_ids, &keys),
        orders::draw_ids(session, requests.len()),
    )?;
    let stored = orders::with_lines(session, stored).await?;
    Ok(Locked { counter: Counter::new(Shelf::new(stock), coupons), stored: by_key(stored), order_ids })
}

/// What each of `requests` is answered if its key was used before. It waits for no lock, so a twin that is about to commit is
/// not seen: this is for those who cannot have the locks.
pub(super) async fn bought_before(
    session: &Session,
    requests: &[OrderRequest],
) -> Result<Vec<Option<Decided>>, DatabaseError> {
    let user_ids: Vec<i64> = requests.iter().map(|request| request.basket.user_id.0).collect();
    let keys: Vec<&str> = requests.iter().map(|request| request.key().key.as_str()).collect();
    let stored = orders::by_request_keys(session, &user_ids, &keys).await?;
    let mut stored = by_key(orders::with_lines(session, stored).await?);
    let earlier = |request: &OrderRequest| {
        stored.remove(request.key()).map(|earlier| answer_repeated(request, earlier))
    };
    Ok(requests.iter().map(earlier).collect())
}

fn by_key(stored: Vec<StoredOrder>) -> HashMap<RequestKey, StoredOrder> {
    stored.into_iter().map(|stored| (stored.request_key.clone(), stored)).collect()
}

fn answer_repeated(request: &OrderRequest, earlier: StoredOrder) -> Decided {
    if earlier.fingerprint == request.fingerprint() {
        Ok(Purchase { order: earlier.order, is_new: false })
    } else {
        Err(CheckoutError::KeyReused)
    }
}

/// What was bought, as columns.
struct Writes {
    product_ids: Vec<i64>,
    on_hand: Vec<i64>,
    coupon_ids: Vec<i64>,
    used_by: Vec<i64>,
    orders: NewOrders,
}

impl Writes {
    fn of(
        counter: &Counter,
        requests: &[OrderRequest],
        results: &[Decided],
        bought: &[usize],
    ) -> Result<Option<Self>, DatabaseError> {
        if bought.is_empty() {
            return Ok(None);
        }
        let (product_ids, on_hand) = counter.shelf.remaining().map(|(id, on_hand)| (id.0, on_hand)).unzip();
        let (coupon_ids, used_by) =
            counter.used_coupons().map(|(coupon_id, order_id)| (coupon_id.0, order_id.0)).unzip();
        let mut orders = NewOrders::default();
        for &position in bought {
            if let Ok(Purchase { order, .. }) = &results[position] {
                let request = &requests[position];
                orders.push(order, request.key().key.clone(), request.fingerprint())?;
            }
        }
        Ok(Some(Self { product_ids, on_hand, coupon_ids, used_by, orders }))
    }

    async fn run(self, session: &Session) -> Result<(), DatabaseError> {
        let mark_used = async {
            if self.coupon_ids.is_empty() {
                return Ok(());
            }
            coupons::mark_used(session, &self.coupon_ids, &self.used_by).await
        };
        try_join!(
            stock::write_remaining(session, &self.product_ids, &self.on_hand),
            mark_used,
            orders::insert(session, &self.orders),
        )?;
        Ok(())
    }
}
