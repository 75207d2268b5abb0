//! # Recoveries
//!
//! What became of orders whose COMMIT was lost may take long to find out: as long as the database is away, or the lost
//! transaction holds its rows. So they leave their worker, which goes on with those who wait
//! (`a_worker_does_not_wait_for_a_lost_commit`). Until they are answered they stay in the desk's book as orders whose
//! transaction runs: repeats join them, another request under their key waits.
//!
//! **A head start.** Usually a new connection tells within 30 ms. The worker waits for a little longer, so that who came first is
//! served first, and on one product its next batch and the recovery do not want the same row
//! (`a_recovery_that_ends_at_once_comes_before_those_who_came_later`).
//!
//! **Few at a time**, [`RECOVERIES`]. Each takes a session, and each is a batch of buyers who may have to be told that the
//! outcome is unknown. Where more than that are lost the database is in trouble: a worker waits for the next recovery then, as what it would
//! take meanwhile is likely to be lost, too, and whose order has not begun can be told so
//! (`when_too_many_commits_are_lost_the_worker_waits`).

use super::Book;
use crate::checkout::batch::Recovery;
use crate::checkout::limits::RECOVERIES;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Clones share the places.
#[derive(Clone)]
pub(super) struct Recoveries {
    book: Arc<Book>,
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    head_start: Duration,
}

impl Recoveries {
    /// They are among these `tasks`.
    pub(super) fn new(book: Arc<Book>, tasks: TaskTracker, head_start: Duration) -> Self {
        Self { book, tasks, places: Arc::new(Semaphore::new(RECOVERIES)), head_start }
    }

    /// Returns when the worker may go on.
    pub(super) async fn begin(&self, recovery: Recovery) {
        let running = run(self.book.clone(), recovery);
        let Ok(place) = self.places.clone().try_acquire_owned() else { return running.await };
        let task = self.tasks.spawn(async move {
            running.await;
            drop(place);
        });
        // Out of time it goes on by itself.
        drop(timeout(self.head_start, task).await);
    }
}

async fn run(book: Arc<Book>, recovery: Recovery) {
    let Recovery { orders, running } = recovery;
    let shown = book.metrics.recovering(orders.len());
    let recovered = AssertUnwindSafe(running).catch_unwind().await;
    drop(shown);
    book.settle_recovered(&orders, recovered.ok());
}
