//! # Desk
//!
//! Gathers waiting orders into transactions. A hot row is locked until its COMMIT is flushed to disk, so one order per
//! transaction sells a product no faster than the disk flushes. The desk takes whatever waits, up to a limit of
//! orders and of lines, into one transaction; while that runs the next orders gather by themselves. Nobody waits for
//! a batch to fill: an order that comes alone goes alone, at once (`whatever_waits_is_the_next_batch_in_the_order_of_arrival`).
//!
//! It is bounded: a full desk turns the next order away at once (`a_full_desk_turns_the_next_away_at_once_and_has_room_again`).
//! Orders are taken in the order of their arrival; who hangs up or runs out of time before his order has begun is not
//! bought for ([`waiting`], `who_hung_up_before_his_order_began_is_not_bought_for`).
//!
//! What goes wrong with a transaction is not its business, but that of [`super::batch`]: a desk hears one answer per
//! order. A panic there is an answer, too (`a_panic_answers_its_callers_and_leaves_the_desk_working`). Only those whose COMMIT was
//! lost are answered later: [`recoveries`].

mod lanes;
mod metrics;
mod recoveries;
mod waiting;

pub(crate) use self::lanes::{Lane, Rows};
use self::metrics::DeskMetrics;
use self::recoveries::Recoveries;
use self::waiting::{Admitted, Buyer, GivenUp, Taken, Waiting};
use super::batch::{Ended, Recovered, Recovery, Verdict};
use super::complete_orders::Decided;
use super::error::CheckoutError;
use super::limits::{BatchLimits, DeskLimits};
use super::request::OrderRequest;
use crate::storage::orders::RequestKey;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For how long a worker waits for the recovery of a batch. A new session and the transaction took 11 to 29 ms on a busy machine.
const HEAD_START: Duration = Duration::from_millis(100);

/// Who completes what the desk has gathered.
pub(super) trait CompleteBatches: Send + Sync + 'static {
    /// One verdict for each order, in their order. No two have the same request key. `held` are those of their rows that
    /// somebody else held when it was last looked.
    fn complete<'b>(
        &'b self,
        orders: &'b Arc<[OrderRequest]>,
        lane: Lane,
        held: &'b Rows,
    ) -> BoxFuture<'b, Ended>;
}

/// The way to the desk. Clones are the same desk.
#[derive(Clone)]
pub struct Desk {
    counter: Arc<Counter>,
    answer_timeout: Duration,
}

/// What buyers hold; when the last is gone, the workers finish and end.
struct Counter {
    book: Arc<Book>,
    /// Workers and recoveries.
    tasks: TaskTracker,
    buyers: AtomicU64,
}

/// What buyers and workers share.
struct Book {
    waiting: Mutex<Waiting>,
    fast: Notify,
    slow: Notify,
    closed: CancellationToken,
    /// Told after each batch and each recovery; workers that wait for the end look again.
    answered: Notify,
    metrics: DeskMetrics,
}

impl Desk {
    /// Starts the workers on the current runtime.
    pub(super) fn open(batches: impl CompleteBatches, limits: DeskLimits, answer_timeout: Duration) -> Self {
        Self::open_with(batches, limits, answer_timeout, HEAD_START)
    }

    fn open_with(
        batches: impl CompleteBatches,
        limits: DeskLimits,
        answer_timeout: Duration,
        head_start: Duration,
    ) -> Self {
        let book = Arc::new(Book {
            waiting: Mutex::new(Waiting::new(limits.queue_orders)),
            fast: Notify::new(),
            slow: Notify::new(),
            closed: CancellationToken::new(),
            answered: Notify::new(),
            metrics: DeskMetrics::new(limits.queue_orders),
        });
        let batches: Arc<dyn CompleteBatches> = Arc::new(batches);
        let tasks = TaskTracker::new();
        let recoveries = Recoveries::new(book.clone(), tasks.clone(), head_start);
        let fast = std::iter::repeat_n(Lane::Fast, limits.workers);
        for lane in fast.chain([Lane::Slow]) {
            let (book, batches, recoveries) = (book.clone(), batches.clone(), recoveries.clone());
            tasks.spawn(Worker { lane, book, batches, recoveries, limits: limits.batch }.run());
        }
        Self { counter: Arc::new(Counter { book, tasks, buyers: AtomicU64::new(0) }), answer_timeout }
    }

    /// Waits for the order's turn and its answer.
    ///
    /// # Errors
    /// [`CheckoutError`].
    pub async fn place(&self, request: OrderRequest) -> Decided {
        let placed = self.counter.book.metrics.placed();
        let answer = self.place_and_wait(request).await;
        placed.answered(&answer);
        answer
    }

    async fn place_and_wait(&self, request: OrderRequest) -> Decided {
        let key = request.key().clone();
        let number = self.counter.buyers.fetch_add(1, Ordering::Relaxed);
        let (answer, mut answered) = oneshot::channel();
        let admitted = self.counter.book.admit(request, Buyer { number, answer })?;
        let _hangs_up = match admitted {
            Admitted::Into(_) => None,
            Admitted::Joined | Admitted::Rival => {
                Some(Follower { book: &self.counter.book, key: &key, number })
            }
        };
        match timeout(self.answer_timeout, &mut answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(lost()),
            Err(_) => self.give_up(&key, number, &mut answered),
        }
    }

    /// How many orders wait, in both lanes and for their key, those whose buyers gave up in a lane included.
    pub fn waiting(&self) -> usize {
        let waiting = self.counter.book.lock();
        waiting.waiting(Lane::Fast) + waiting.waiting(Lane::Slow) + waiting.rivals()
    }

    /// Shows what the desk measures.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.counter.book.metrics.register(registry);
    }

    /// Takes nothing more in, and ends when everything is answered.
    pub async fn close(&self) {
        self.counter.book.closed.cancel();
        self.counter.tasks.close();
        self.counter.tasks.wait().await;
    }

    fn give_up(&self, key: &RequestKey, number: u64, answered: &mut oneshot::Receiver<Decided>) -> Decided {
        match self.counter.book.lock().give_up(key, number) {
            GivenUp::InTime => {
                Err(CheckoutError::Unavailable("it waited for too long, and was not begun".to_owned()))
            }
            GivenUp::TooLate => Err(CheckoutError::OutcomeUnknown(format!(
                "the database has not answered within {:?}",
                self.answer_timeout
            ))),
            GivenUp::Answered => answered.try_recv().unwrap_or_else(|_| Err(lost())),
        }
    }
}

/// A buyer behind another one of the same key. If he hangs up he is gone at once: a key may be answered late.
struct Follower<'b> {
    book: &'b Book,
    key: &'b RequestKey,
    number: u64,
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        let mut waiting = self.book.lock();
        waiting.give_up(self.key, self.number);
        self.book.metrics.show_waiting(&waiting);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.book.closed.cancel();
    }
}

impl Book {
    fn admit(&self, request: OrderRequest, buyer: Buyer) -> Result<Admitted, CheckoutError> {
        let admitted = {
            let mut waiting = self.lock();
            // Under the lock: a worker that has seen both that the desk is closed and that nobody waits is gone.
            if self.closed.is_cancelled() {
                return Err(CheckoutError::Unavailable("the service is stopping".to_owned()));
            }
            let admitted = waiting.admit(request, buyer, Instant::now())?;
            self.metrics.show_waiting(&waiting);
            admitted
        };
        if let Admitted::Into(lane) = admitted {
            self.signal(lane).notify_one();
        }
        Ok(admitted)
    }

    /// The next batch of a lane, empty when nobody waits. Other workers are told when somebody is left.
    fn take(&self, lane: Lane, limits: BatchLimits) -> Taken {
        let mut waiting = self.lock();
        let taken = waiting.take(lane, limits, Instant::now());
        self.metrics.show_waiting(&waiting);
        self.wake(lane, &waiting);
        self.wake(lane.other(), &waiting);
        drop(waiting);
        self.metrics.observe_batch(&taken);
        taken
    }

    /// Somebody may wait in this lane whom its workers do not know of.
    fn wake(&self, lane: Lane, waiting: &Waiting) {
        if waiting.waiting(lane) > 0 {
            self.signal(lane).notify_one();
        }
    }

    fn signal(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::Fast => &self.fast,
            Lane::Slow => &self.slow,
        }
    }

    /// Answers a batch. What is left to be answered is the recovery's.
    fn settle(&self, lane: Lane, batch: &[OrderRequest], ended: Option<Ended>) -> Option<Recovery> {
        let mut waiting = self.lock();
        let now = Instant::now();
        let recovery = match ended {
            None => {
                panicked(&mut waiting, batch, now);
                None
            }
            Some(ended) => {
                waiting.release(&ended.free);
                waiting.hold(&ended.held);
                for (request, verdict) in batch.iter().zip(ended.verdicts) {
                    match verdict {
                        Verdict::Answer(answer) => waiting.answer(request.key(), &answer, now),
                        Verdict::Postponed => waiting.postpone(request.clone(), now),
                        Verdict::Uncertain => {}
                    }
                }
                ended.recovery
            }
        };
        // The worker looks into its own lane next, unless a recovery comes first.
        if recovery.is_some() {
            self.wake(lane, &waiting);
        }
        self.settled(&waiting, &[lane.other()]);
        recovery
    }

    fn settle_recovered(&self, orders: &[OrderRequest], recovered: Option<Recovered>) {
        let mut waiting = self.lock();
        let now = Instant::now();
        match recovered {
            None => panicked(&mut waiting, orders, now),
            Some(recovered) => {
                waiting.release(&recovered.free);
                for (request, answer) in orders.iter().zip(recovered.answers) {
                    waiting.answer(request.key(), &answer, now);
                }
            }
        }
        self.settled(&waiting, &[Lane::Fast, Lane::Slow]);
    }

    fn settled(&self, waiting: &Waiting, lanes: &[Lane]) {
        self.metrics.show_waiting(waiting);
        for lane in lanes {
            self.wake(*lane, waiting);
        }
        self.answered.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in it panics half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    lane: Lane,
    book: Arc<Book>,
    batches: Arc<dyn CompleteBatches>,
    recoveries: Recoveries,
    limits: BatchLimits,
}

impl Worker {
    /// Until the desk is closed and nobody waits any more.
    async fn run(self) {
        loop {
            let batch = self.book.take(self.lane, self.limits);
            if !batch.orders.is_empty() {
                self.complete(batch).await;
                continue;
            }
            // Registered before the look, so that the last answer is not missed.
            let answered = self.book.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            let closed = self.book.closed.is_cancelled();
            if closed && self.book.lock().is_empty() {
                self.book.answered.notify_waiters();
                return;
            }
            tokio::select! {
                () = self.book.signal(self.lane).notified() => {}
                () = self.book.closed.cancelled(), if !closed => {}
                () = answered, if closed => {}
            }
        }
    }

    async fn complete(&self, Taken { orders, held, .. }: Taken) {
        let batch: Arc<[OrderRequest]> = orders.into();
        let running = AssertUnwindSafe(self.batches.complete(&batch, self.lane, &held)).catch_unwind();
        let recovery = self.book.settle(self.lane, &batch, running.await.ok());
        if let Some(recovery) = recovery {
            self.recoveries.begin(recovery).await;
        }
    }
}

/// The panic hook has reported it. What was committed is known to the key, so the answer is the honest one.
fn panicked(waiting: &mut Waiting, orders: &[OrderRequest], now: Instant) {
    let unknown = Err(CheckoutError::OutcomeUnknown("the checkout panicked".to_owned()));
    for request in orders {
        waiting.answer(request.key(), &unknown, now);
    }
}

fn lost() -> CheckoutError {
    CheckoutError::OutcomeUnknown("the service is stopping".to_owned())
}

#[cfg(test)]
mod tests;
