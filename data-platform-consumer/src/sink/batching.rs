//! # Batching
//!
//! Gathers calls that run side by side into batches, for a platform that takes several events at once. It takes
//! whatever waits, up to a limit; while the batches run that may run at a time, the next one gathers by itself. Nobody
//! waits for a batch to fill (`who_comes_alone_goes_alone_and_whatever_waits_is_the_next_batch`).
//!
//! **Each caller hears of his own event.** A batch that is refused because of one event is halved until that one is
//! found, so its neighbours are taken (`the_one_at_fault_is_found_and_its_neighbours_are_taken`). What failed in
//! company, and may have failed because of one of them, goes alone the next time, so that an event which makes the platform
//! fail takes nobody with it for long (`what_failed_in_company_goes_alone_the_next_time`). A panic is an answer, too
//! (`a_panic_answers_its_callers_and_the_next_batch_runs`). Who stopped waiting is left out.
//!
//! It holds as many events as there are calls, so it needs no bound of its own, and no task while nobody calls.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{DeliveryFailure, FailureKind};

/// What becomes of one event.
type Outcome = Result<(), DeliveryFailure>;

/// More than ever wait. Beyond it all are forgotten, which costs a failed batch each.
const MOST_SUSPECTS: usize = 10_000;

/// A platform that takes several events at once.
pub(super) trait TakesBatches: Send + Sync + 'static {
    /// What it needs of an event.
    type Item: Send + Sync + 'static;

    /// The same for every delivery of an event.
    fn key(item: &Self::Item) -> &str;

    /// Hands all of them over, or none. Must end within a bounded time.
    fn take(&self, batch: &[Self::Item]) -> impl Future<Output = Result<(), NotTaken>> + Send;
}

/// Why a batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Another batch would have failed as well.
    Whatever(DeliveryFailure),
    /// One of the events may be why.
    OneOfThem(DeliveryFailure),
}

impl NotTaken {
    pub(super) fn into_failure(self) -> DeliveryFailure {
        match self {
            Self::Whatever(failure) | Self::OneOfThem(failure) => failure,
        }
    }
}

/// How much may be on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    /// Events of one batch.
    pub(super) events: usize,
    /// Batches at a time.
    pub(super) batches: usize,
}

/// The way to a platform that takes batches.
pub(super) struct Batches<P: TakesBatches> {
    shared: Arc<Shared<P>>,
}

struct Shared<P: TakesBatches> {
    platform: P,
    limits: BatchLimits,
    book: Mutex<Book<P::Item>>,
}

struct Book<T> {
    waiting: VecDeque<Waiting<T>>,
    /// Workers that run. Each looks into `waiting` once more before it ends, under the same lock.
    workers: usize,
    /// Keys of what failed in company.
    suspects: HashSet<String>,
}

struct Waiting<T> {
    item: T,
    answer: oneshot::Sender<Outcome>,
}

struct Batch<T> {
    items: Vec<T>,
    answers: Vec<Option<oneshot::Sender<Outcome>>>,
}

impl<P: TakesBatches> Batches<P> {
    pub(super) fn new(platform: P, limits: BatchLimits) -> Self {
        let book = Book { waiting: VecDeque::new(), workers: 0, suspects: HashSet::new() };
        Self { shared: Arc::new(Shared { platform, limits, book: Mutex::new(book) }) }
    }

    /// Waits for the item's batch. Must be called on a tokio runtime.
    pub(super) async fn deliver(&self, item: P::Item) -> Outcome {
        let (answer, answered) = oneshot::channel();
        if self.shared.admit(Waiting { item, answer }) {
            tokio::spawn(Arc::clone(&self.shared).work());
        }
        let lost = || Err(DeliveryFailure::unavailable("the batch ended without a result"));
        answered.await.unwrap_or_else(|_| lost())
    }
}

impl<P: TakesBatches> Shared<P> {
    /// Whether another worker is wanted.
    fn admit(&self, waiting: Waiting<P::Item>) -> bool {
        let mut book = self.lock();
        book.waiting.push_back(waiting);
        let wanted = book.workers < self.limits.batches;
        book.workers += usize::from(wanted);
        wanted
    }

    /// Until nobody waits.
    async fn work(self: Arc<Self>) {
        while let Some(batch) = self.next() {
            // Whoever was not answered before a panic hears of it by his sender, which is dropped.
            AssertUnwindSafe(self.hand_over(batch)).catch_unwind().await.ok();
        }
    }

    fn next(&self) -> Option<Batch<P::Item>> {
        let mut book = self.lock();
        let mut batch = Batch { items: Vec::new(), answers: Vec::new() };
        while batch.items.len() < self.limits.events
            && let Some(next) = book.waiting.pop_front()
        {
            if next.answer.is_closed() {
                continue;
            }
            let suspect = !book.suspects.is_empty() && book.suspects.contains(P::key(&next.item));
            if suspect && !batch.items.is_empty() {
                book.waiting.push_front(next);
                break;
            }
            batch.items.push(next.item);
            batch.answers.push(Some(next.answer));
            if suspect {
                break;
            }
        }
        if batch.items.is_empty() {
            book.workers -= 1;
            return None;
        }
        Some(batch)
    }

    async fn hand_over(&self, mut batch: Batch<P::Item>) {
        let whole = 0..batch.items.len();
        let mut parts = Vec::from([whole]);
        while let Some(part) = parts.pop() {
            let not_taken = match self.platform.take(&batch.items[part.clone()]).await {
                Ok(()) => {
                    self.trust(&batch.items[part.clone()]);
                    batch.answer(part, &Ok(()));
                    continue;
                }
                Err(not_taken) => not_taken,
            };
            match not_taken {
                NotTaken::Whatever(failure) => {
                    // The parts that are left would only wait for the same.
                    parts.push(part);
                    for part in parts.drain(..) {
                        batch.answer(part, &Err(failure.clone()));
                    }
                }
                NotTaken::OneOfThem(failure) if part.len() > 1 => {
                    if failure.kind() == FailureKind::Rejected {
                        let middle = part.start + part.len() / 2;
                        parts.extend([middle..part.end, part.start..middle]);
                    } else {
                        self.suspect(&batch.items[part.clone()]);
                        batch.answer(part, &Err(failure));
                    }
                }
                alone @ NotTaken::OneOfThem(_) => batch.answer(part, &Err(alone.into_failure())),
            }
        }
    }

    fn suspect(&self, items: &[P::Item]) {
        let mut book = self.lock();
        if book.suspects.len() + items.len() > MOST_SUSPECTS {
            book.suspects.clear();
        }
        book.suspects.extend(items.iter().map(|item| P::key(item).to_owned()));
    }

    fn trust(&self, items: &[P::Item]) {
        let mut book = self.lock();
        for item in items {
            if book.suspects.is_empty() {
                return;
            }
            book.suspects.remove(P::key(item));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book<P::Item>> {
        // Nothing panics half-way while it is held.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Batch<T> {
    fn answer(&mut self, part: Range<usize>, outcome: &Outcome) {
        for answer in self.answers[part].iter_mut().filter_map(Option::take) {
            // Who stopped waiting meanwhile does not want it.
            answer.send(outcome.clone()).ok();
        }
    }
}

#[cfg(test)]
#[path = "batching_tests.rs"]
mod tests;
