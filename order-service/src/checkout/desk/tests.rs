//! A desk whose batches are answered by the test, one after the other.

use super::*;
use crate::checkout::complete_orders::Purchase;
use crate::checkout::limits::BatchLimits;
use crate::domain::ids::{ProductId, UserId};
use crate::domain::order::{Basket, CompletedOrder, OrderItem};
use std::collections::BTreeSet;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use uuid::Uuid;

mod recoveries;
mod same_key;

/// What buyers wait for who are to run out of time: longer than a machine stands still in the middle of a scene.
const SHORT: Duration = Duration::from_millis(500);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A batch on its way; the test says how it ends.
struct Begun {
    orders: Arc<[OrderRequest]>,
    lane: Lane,
    held: Rows,
    ends: oneshot::Sender<Ended>,
}

struct Batches(UnboundedSender<Begun>);

impl CompleteBatches for Batches {
    fn complete<'b>(
        &'b self,
        orders: &'b Arc<[OrderRequest]>,
        lane: Lane,
        held: &'b Rows,
    ) -> BoxFuture<'b, Ended> {
        let (ends, ended) = oneshot::channel();
        let begun = Begun { orders: orders.clone(), lane, held: held.clone(), ends };
        self.0.send(begun).unwrap();
        async { ended.await.expect("a test that drops it wants the batch to panic") }.boxed()
    }
}

struct Counted {
    desk: Desk,
    batches: UnboundedReceiver<Begun>,
}

fn open(queue_orders: usize, orders: usize, lines: usize, answer_timeout: Duration) -> Counted {
    let (sender, batches) = unbounded_channel();
    let limits = limits(queue_orders, orders, lines);
    Counted { desk: Desk::open(Batches(sender), limits, answer_timeout), batches }
}

fn limits(queue_orders: usize, orders: usize, lines: usize) -> DeskLimits {
    DeskLimits { workers: 1, queue_orders, batch: BatchLimits { orders, lines } }
}

impl Counted {
    async fn begun(&mut self) -> Begun {
        tokio::time::timeout(PATIENCE, self.batches.recv()).await.expect("a batch begins").unwrap()
    }

    /// Places an order, and returns once it is at the desk.
    async fn place(&self, request: OrderRequest) -> JoinHandle<Decided> {
        let before = self.desk.counter.buyers.load(Ordering::SeqCst);
        let desk = self.desk.clone();
        let placed = tokio::spawn(async move { desk.place(request).await });
        // On this one thread the order is at the desk as soon as its number is drawn.
        while self.desk.counter.buyers.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        placed
    }

    /// The first order is on its way alone, so whatever comes next waits.
    async fn busy(&mut self) -> (JoinHandle<Decided>, Begun) {
        let first = self.place(order(1000, "first", &[1])).await;
        (first, self.begun().await)
    }
}

impl Begun {
    fn users(&self) -> Vec<i64> {
        self.orders.iter().map(|order| order.basket.user_id.0).collect()
    }

    fn buy(self) {
        let bought = |order: &OrderRequest| Verdict::Answer(Ok(completed(order)));
        let verdicts = self.orders.iter().map(bought).collect();
        self.ends
            .send(Ended { verdicts, held: Rows::default(), free: Rows::default(), recovery: None })
            .unwrap();
    }

    fn products(&self) -> Vec<i64> {
        self.orders.iter().flat_map(|order| &order.basket.items).map(|item| item.product_id.0).collect()
    }

    fn refuse(self, why: &CheckoutError) {
        let verdicts = self.orders.iter().map(|_| Verdict::Answer(Err(why.clone()))).collect();
        self.ends
            .send(Ended { verdicts, held: Rows::default(), free: Rows::default(), recovery: None })
            .unwrap();
    }

    fn held(self, product: i64) {
        let held = Rows { products: BTreeSet::from([ProductId(product)]), ..Rows::default() };
        let verdict = |order: &OrderRequest| {
            if held.touch(order) { Verdict::Postponed } else { Verdict::Answer(Ok(completed(order))) }
        };
        let verdicts = self.orders.iter().map(verdict).collect();
        self.ends.send(Ended { verdicts, held, free: Rows::default(), recovery: None }).unwrap();
    }

    fn buy_and_free(self) {
        let (free, held) = (Rows::of(self.orders.iter()), Rows::default());
        let verdicts = self.orders.iter().map(|order| Verdict::Answer(Ok(completed(order)))).collect();
        self.ends.send(Ended { verdicts, held, free, recovery: None }).unwrap();
    }
}

fn order(user: i64, key: &str, products: &[i64]) -> OrderRequest {
    let item = |&product: &i64| OrderItem { product_id: ProductId(product), quantity: 1 };
    let items = products.iter().map(item).collect();
    OrderRequest::new(Basket { user_id: UserId(user), items, coupon_id: None }, key.to_owned(), None)
}

fn completed(order: &OrderRequest) -> Purchase {
    let order = CompletedOrder {
        id: crate::domain::ids::OrderId(order.basket.user_id.0),
        user_id: order.basket.user_id,
        lines: Vec::new(),
        coupon_id: None,
        total: crate::domain::money::Money::ZERO,
        discount: crate::domain::money::Money::ZERO,
        completed_at: chrono::DateTime::UNIX_EPOCH,
        event_id: Uuid::nil(),
    };
    Purchase { order, is_new: true }
}

#[tokio::test]
async fn whatever_waits_is_the_next_batch_in_the_order_of_arrival() {
    let mut counted = open(100, 100, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    assert_eq!(batch.users(), [1000], "an order that comes alone goes alone, at once");
    let mut others = Vec::new();
    for user in 1..=20 {
        others.push(counted.place(order(user, "k", &[1])).await);
    }
    batch.buy();
    let next = counted.begun().await;
    assert_eq!(next.users(), (1..=20).collect::<Vec<_>>());
    next.buy();
    for (user, answer) in (1..=20).zip(others) {
        assert_eq!(answer.await.unwrap().unwrap().order.user_id, UserId(user));
    }
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_batch_is_limited_by_orders_and_by_lines_and_a_large_order_goes_alone() {
    let mut counted = open(100, 3, 4, PATIENCE);
    let (_first, batch) = counted.busy().await;
    for (user, products) in
        [(1, vec![1]), (2, vec![1]), (3, vec![1]), (4, vec![1, 2]), (5, vec![1, 2, 3]), (6, vec![1; 9])]
    {
        drop(counted.place(order(user, "k", &products)).await);
    }
    let mut batches = Vec::new();
    batch.buy();
    for _ in 0..4 {
        let batch = counted.begun().await;
        batches.push(batch.users());
        batch.buy();
    }
    assert_eq!(batches, [vec![1, 2, 3], vec![4], vec![5], vec![6]]);
}

#[tokio::test]
async fn a_full_desk_turns_the_next_away_at_once_and_has_room_again() {
    let mut counted = open(2, 100, 100, PATIENCE);
    let (_first, batch) = counted.busy().await;
    let waiting = [counted.place(order(1, "k", &[1])).await, counted.place(order(2, "k", &[1])).await];
    let refused = counted.desk.place(order(3, "k", &[1])).await;
    assert_eq!(refused, Err(CheckoutError::Overloaded));
    batch.buy();
    counted.begun().await.buy();
    for answer in waiting {
        answer.await.unwrap().unwrap();
    }
    let later = counted.place(order(3, "k", &[1])).await;
    counted.begun().await.buy();
    later.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_hung_up_before_his_order_began_is_not_bought_for() {
    let mut counted = open(100, 100, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    let gone = counted.place(order(1, "k", &[1])).await;
    let stays = counted.place(order(2, "k", &[1])).await;
    for hangs_up in [first, gone] {
        hangs_up.abort();
        assert!(hangs_up.await.unwrap_err().is_cancelled());
    }
    batch.buy();
    let next = counted.begun().await;
    assert_eq!(next.users(), [2]);
    next.buy();
    stays.await.unwrap().unwrap();
}

#[tokio::test]
async fn out_of_time_is_nothing_done_before_the_order_began_and_unknown_after() {
    let mut counted = open(100, 100, 100, SHORT);
    let (first, batch) = counted.busy().await;
    let second = counted.place(order(2, "k", &[1])).await;
    let first = first.await.unwrap().unwrap_err();
    assert!(matches!(first, CheckoutError::OutcomeUnknown(_)), "{first:?}");
    let second = second.await.unwrap().unwrap_err();
    assert!(matches!(second, CheckoutError::Unavailable(_)), "{second:?}");
    batch.buy();
    let third = counted.place(order(3, "k", &[1])).await;
    assert_eq!(counted.begun().await.users(), [3], "the second was told that nothing was done");
    drop(third);
}

#[tokio::test]
async fn an_order_that_was_rolled_back_into_the_slow_lane_is_nothing_done_when_it_runs_out_of_time() {
    let mut counted = open(100, 100, 100, SHORT);
    let (first, batch) = counted.busy().await;
    batch.held(1);
    let _keeps_the_slow_lane_busy = counted.begun().await;
    let second = counted.place(order(2, "k", &[2])).await;
    counted.begun().await.held(2);
    let second = second.await.unwrap().unwrap_err();
    assert!(matches!(second, CheckoutError::Unavailable(_)), "{second:?}");
    let first = first.await.unwrap().unwrap_err();
    assert!(matches!(first, CheckoutError::OutcomeUnknown(_)), "{first:?}");
}

#[tokio::test]
async fn a_panic_answers_its_callers_and_leaves_the_desk_working() {
    let mut counted = open(100, 100, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    drop(batch.ends);
    let error = first.await.unwrap().unwrap_err();
    assert!(matches!(error, CheckoutError::OutcomeUnknown(_)), "{error:?}");
    let next = counted.place(order(1, "k", &[1])).await;
    counted.begun().await.buy();
    next.await.unwrap().unwrap();
}

#[tokio::test]
async fn orders_that_need_a_held_row_take_the_slow_lane_until_it_is_free() {
    let mut counted = open(100, 100, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    batch.held(1);
    let slow = counted.begun().await;
    assert_eq!((slow.lane, slow.users()), (Lane::Slow, vec![1000]));
    // The slow lane is busy; the fast one is not.
    let also_held = counted.place(order(1, "k", &[2, 1])).await;
    let other = counted.place(order(2, "k", &[2])).await;
    let fast = counted.begun().await;
    assert_eq!((fast.lane, fast.users()), (Lane::Fast, vec![2]));
    fast.buy();
    other.await.unwrap().unwrap();
    slow.buy_and_free();
    first.await.unwrap().unwrap();
    let fast = counted.begun().await;
    assert_eq!((fast.lane, fast.users()), (Lane::Fast, vec![1]));
    fast.buy();
    also_held.await.unwrap().unwrap();
}

#[tokio::test]
async fn only_rows_that_were_found_held_are_asked_about_in_the_slow_lane() {
    let mut counted = open(100, 100, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    batch.held(1);
    let slow = counted.begun().await;
    let basket = counted.place(order(1, "k", &[1, 2])).await;
    slow.held(1);
    let slow = counted.begun().await;
    // Product 2 is what everybody else buys.
    assert_eq!((slow.lane, slow.users()), (Lane::Slow, vec![1, 1000]));
    assert_eq!(slow.held.products, BTreeSet::from([ProductId(1)]));
    slow.buy_and_free();
    first.await.unwrap().unwrap();
    basket.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_waited_for_a_row_that_is_free_again_comes_before_those_who_came_later() {
    let mut counted = open(100, 1, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    batch.held(1);
    let slow = counted.begun().await;
    let others = counted.place(order(50, "k", &[2])).await;
    let fast = counted.begun().await;
    let waits = [1, 2].map(|user| order(user, "k", &[1]));
    let mut answers = Vec::new();
    for order in waits.into_iter().chain([order(3, "k", &[2])]) {
        answers.push(counted.place(order).await);
    }
    slow.buy_and_free();
    fast.buy();
    let mut served = Vec::new();
    for _ in 0..3 {
        let batch = counted.begun().await;
        served.extend(batch.users());
        assert_eq!(batch.lane, Lane::Fast);
        batch.buy();
    }
    assert_eq!(served, [1, 2, 3]);
    for answer in [first, others].into_iter().chain(answers) {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_closed_desk_answers_who_waits_and_takes_nothing_more_in() {
    let mut counted = open(100, 1, 100, PATIENCE);
    let (first, batch) = counted.busy().await;
    let waits = counted.place(order(1, "k", &[1])).await;
    let desk = counted.desk.clone();
    let closing = tokio::spawn(async move { desk.close().await });
    while !counted.desk.counter.book.closed.is_cancelled() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(counted.desk.place(order(2, "k", &[1])).await, Err(CheckoutError::Unavailable(_))));
    assert!(!closing.is_finished());
    batch.held(1);
    let mut ends: Vec<(Lane, Vec<i64>)> = Vec::new();
    for _ in 0..2 {
        let batch = counted.begun().await;
        ends.push((batch.lane, batch.users()));
        batch.buy();
    }
    assert_eq!(ends, [(Lane::Slow, vec![1000]), (Lane::Slow, vec![1])]);
    first.await.unwrap().unwrap();
    waits.await.unwrap().unwrap();
    tokio::time::timeout(PATIENCE, closing).await.expect("the workers end").unwrap();
}
