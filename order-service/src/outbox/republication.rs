//! # Republication
//!
//! Writes the events of stored orders to the outbox again: the same payload, under the same event id, as
//! [`super::message`] makes it from the order and nothing else. (Of the headers only the trace is missing: it is not
//! kept with the order.) The relay publishes them like any other.
//!
//! It is right beside a running checkout and relay. A row of the first time, if it is still pending, was committed with
//! its order and so has a lower seq: it goes first. Whoever has the event already sees a repeat, which every reader must
//! bear. It may die at any point and be run again: each batch is one transaction, and the price is repeats.
//!
//! New orders wait behind what it has written, so it writes no more while [`Pace::most_pending`] rows wait, and gives up
//! when that lasts longer than [`Pace::patience`]: a relay that does not run would else be met by the whole shop's past.

use super::message::{MessageError, order_completed};
use crate::domain::ids::OrderId;
use crate::storage::database::{Database, within_longest_read};
use crate::storage::error::DatabaseError;
use crate::storage::transaction_completion::{Outcome, RollbackCause, Transaction, in_transaction};
use crate::storage::{orders, outbox};
use futures_util::FutureExt;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::time::{sleep, timeout};

/// How long to leave the relay alone before the outbox is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

/// Order ids from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderRange {
    /// The lowest.
    pub first: OrderId,
    /// The highest.
    pub last: OrderId,
}

/// How fast it goes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Orders of one transaction.
    pub batch: i64,
    /// It waits while so many rows are pending.
    pub most_pending: i64,
    /// How long it waits for the relay.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: 1000, most_pending: 10_000, patience: Duration::from_mins(2) }
    }
}

/// Why not all of it was written. What was written before stays so.
#[derive(Debug, Error)]
pub enum RepublicationError {
    /// The range could not be counted; nothing was written.
    #[error(transparent)]
    Count(DatabaseError),
    /// There is nothing to publish.
    #[error("there is no order from {} to {}", .0.first, .0.last)]
    NoOrder(OrderRange),
    /// It stopped in the middle.
    #[error("{written} events were written; go on with --orders {next}..{last}: {cause}")]
    Stopped {
        /// How many events were written before.
        written: u64,
        /// The first order whose event was not, as far as is known.
        next: OrderId,
        /// The last one.
        last: OrderId,
        /// Why.
        cause: Cause,
    },
}

/// What stopped it.
#[derive(Debug, Error)]
pub enum Cause {
    /// The database.
    #[error("{0}")]
    Database(DatabaseError),
    /// A stored order has no event.
    #[error("{0}")]
    Message(MessageError),
    /// Nobody publishes.
    #[error(
        "{rows} events or more still wait in the outbox after {patience:?}: does a relay run, and does Kafka take them?"
    )]
    NobodyPublishes {
        /// How many rows wait at least.
        rows: i64,
        /// How long that was waited for.
        patience: Duration,
    },
    /// A defect of the program.
    #[error("the transaction was rolled back: {0}")]
    Defect(&'static str),
}

/// How many orders there are in this range.
///
/// # Errors
/// [`RepublicationError::NoOrder`], or the database.
pub async fn count(database: &Database, range: OrderRange) -> Result<u64, RepublicationError> {
    let counted = async {
        let mut session = database.reading_session().await?;
        within_longest_read(orders::count_of_range(&mut session, range.first, range.last)).await
    };
    match counted.await.map_err(RepublicationError::Count)? {
        0 => Err(RepublicationError::NoOrder(range)),
        count => Ok(count),
    }
}

/// Writes the events of all orders of this range to the outbox, lowest id first, and answers how many.
///
/// # Errors
/// [`RepublicationError::Stopped`] says where to go on.
pub async fn republish(
    database: &Database,
    topic: &str,
    range: OrderRange,
    pace: Pace,
) -> Result<u64, RepublicationError> {
    let (mut written, mut next) = (0, range.first);
    let stopped =
        |written, next, cause| RepublicationError::Stopped { written, next, last: range.last, cause };
    loop {
        let left = OrderRange { first: next, last: range.last };
        let wait = wait_for_the_relay(database, pace).await;
        wait.map_err(|cause| stopped(written, next, cause))?;
        let batch = batch(database, topic, left, pace.batch).await;
        let Some(batch) = batch.map_err(|cause| stopped(written, next, cause))? else { return Ok(written) };
        written += batch.orders;
        match batch.last.0.checked_add(1) {
            Some(behind) if behind <= range.last.0 => next = OrderId(behind),
            _ => return Ok(written),
        }
    }
}

/// What one transaction has written.
struct Batch {
    orders: u64,
    last: OrderId,
}

async fn batch(
    database: &Database,
    topic: &str,
    range: OrderRange,
    limit: i64,
) -> Result<Option<Batch>, Cause> {
    let topic = topic.to_owned();
    let outcome = in_transaction(database, move |transaction| {
        async move { write(transaction, &topic, range, limit).await }.boxed()
    });
    match outcome.await {
        Outcome::Committed(batch) => Ok(batch),
        Outcome::RolledBack(RollbackCause::Work(cause)) => Err(cause),
        Outcome::RolledBack(RollbackCause::Database(error)) | Outcome::Unknown(error) => {
            Err(Cause::Database(error))
        }
        Outcome::RolledBack(RollbackCause::Panicked) => Err(Cause::Defect("it panicked")),
        Outcome::RolledBack(RollbackCause::Nested) => Err(Cause::Defect("it was nested")),
        Outcome::RolledBack(RollbackCause::Unbalanced) => Err(Cause::Defect("it was unbalanced")),
    }
}

async fn write(
    transaction: &mut Transaction,
    topic: &str,
    range: OrderRange,
    limit: i64,
) -> Result<Option<Batch>, Cause> {
    let (session, answer_limit) = transaction.session_and_limit();
    let read = timeout(answer_limit, orders::of_range(session, range.first, range.last, limit)).await;
    let no_answer = || DatabaseError::Unavailable(format!("no answer within {answer_limit:?}"));
    let stored = read.unwrap_or_else(|_| Err(no_answer())).map_err(Cause::Database)?;
    let Some(last) = stored.last().map(|order| order.id) else { return Ok(None) };
    for order in &stored {
        transaction.publish(order_completed(order, topic, None).map_err(Cause::Message)?);
    }
    Ok(Some(Batch { orders: stored.len() as u64, last }))
}

async fn wait_for_the_relay(database: &Database, pace: Pace) -> Result<(), Cause> {
    let begin = Instant::now();
    loop {
        let full = async { outbox::has_at_least(&mut *database.session().await?, pace.most_pending).await };
        if !database.within_limit(full).await.map_err(Cause::Database)? {
            return Ok(());
        }
        if begin.elapsed() >= pace.patience {
            return Err(Cause::NobodyPublishes { rows: pace.most_pending, patience: pace.patience });
        }
        sleep(PAUSE).await;
    }
}
