//! # Transaction completion
//!
//! How the service tells the world what it committed, and nothing else.
//!
//! [`in_transaction`] runs work in one database transaction. The work may register *messages* and *callbacks*.
//! The messages become rows of the outbox by the last statement before COMMIT: they are committed with the
//! order or not at all. The callbacks run after COMMIT succeeded, and only then.
//!
//! ```text
//! BEGIN ── work ── outbox rows ── COMMIT ── callbacks
//!            │           │           │
//!            └───────────┴───────────┴── anything wrong: ROLLBACK, rows and callbacks are dropped
//! ```
//!
//! **Why a row and a callback.** A process may die between COMMIT and any callback, so an event that a callback
//! sends would be lost with it. Here the row *is* the event; the callback only wakes the relay, which would find
//! the row a moment later anyway. A lost callback costs milliseconds, never an event.
//!
//! **Three outcomes, not two.** When the connection is lost while COMMIT is on the wire, nobody can tell whether
//! it was applied. That is [`Outcome::Unknown`]: no callback runs, and the caller must say so; the relay publishes
//! the rows if they are there.
//!
//! **The last statement proves that the transaction is alive.** If work swallowed a database error, PostgreSQL
//! answers COMMIT with ROLLBACK *and no error*. The insert of the outbox rows (`SELECT 1` without messages)
//! fails in such a transaction, so it ends as rolled back.
//!
//! **A client that hangs up cannot separate COMMIT from its callbacks**: both run in a task of their own.
//!
//! It refuses to be nested: a transaction inside another's work would run its callbacks while the outer one may
//! still be rolled back. Savepoints (`Session::transaction` inside of work) are fine, they have no callbacks.

use super::Session;
use super::database::{Database, PooledSession};
use super::error::{DatabaseError, proves_rollback};
use super::outbox;
use crate::outbox::message::OutboxMessage;
use diesel_async::{AnsiTransactionManager, TransactionManager};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, try_join};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::error;

/// A rollback has nothing to wait for, and somebody waits for it: a session that takes longer does not answer.
const LONGEST_ROLLBACK: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// Set while work runs, so that a transaction inside it is recognised.
    static IN_TRANSACTION: ();
}

/// How a transaction ended.
#[derive(Debug)]
pub enum Outcome<T, E> {
    /// COMMIT succeeded, the callbacks have run.
    Committed(T),
    /// Nothing of it is in the database, nothing will be published.
    RolledBack(RollbackCause<E>),
    /// The connection was lost during COMMIT: it may have been applied, and then its messages will be published.
    Unknown(DatabaseError),
}

/// Why a transaction was rolled back.
#[derive(Debug)]
pub enum RollbackCause<E> {
    /// The work said so.
    Work(E),
    /// The database could not begin it, or refused the outbox rows or the COMMIT.
    Database(DatabaseError),
    /// The work panicked.
    Panicked,
    /// It was begun inside the work of another transaction, which is a defect of the caller.
    Nested,
    /// The work left a savepoint open or ended the transaction itself, which is a defect of the work.
    Unbalanced,
}

/// Runs after COMMIT. It cannot fail and does not wait; a panic in it is logged and changes nothing.
type Callback = Box<dyn FnOnce() + Send>;

/// Statements that go out together with the outbox rows, in one round trip.
type LastWrites = Box<dyn for<'s> FnOnce(&'s Session) -> BoxFuture<'s, Result<(), DatabaseError>> + Send>;

/// An open transaction, as its work sees it.
pub struct Transaction {
    session: PooledSession,
    answer_limit: Duration,
    last_writes: Option<LastWrites>,
    messages: Vec<OutboxMessage>,
    callbacks: Vec<Callback>,
}

impl Transaction {
    /// The session for queries.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Registers a message that is committed with this transaction and then published.
    pub fn publish(&mut self, message: OutboxMessage) {
        self.messages.push(message);
    }

    /// Registers what runs after COMMIT succeeded, in the order of registration.
    pub fn after_commit(&mut self, callback: impl FnOnce() + Send + 'static) {
        self.callbacks.push(Box::new(callback));
    }

    /// The session for queries, and how long an answer may take: for work that must end when the server is frozen.
    pub fn session_and_limit(&mut self) -> (&mut Session, Duration) {
        (&mut self.session, self.answer_limit)
    }

    /// Registers the work's last statements. They need no answer before COMMIT, so they are pipelined with the outbox
    /// rows, before them; an error of theirs rolls back like any other.
    pub fn write_last<W>(&mut self, writes: W)
    where
        W: for<'s> FnOnce(&'s Session) -> BoxFuture<'s, Result<(), DatabaseError>> + Send + 'static,
    {
        self.last_writes = Some(Box::new(writes));
    }

    /// Whether last statements or messages are registered.
    pub fn writes_something(&self) -> bool {
        self.last_writes.is_some() || !self.messages.is_empty()
    }

    async fn begin(database: &Database) -> Result<Self, DatabaseError> {
        let mut session = database.session().await?;
        let begun = AnsiTransactionManager::begin_transaction(&mut *session);
        let answer_limit = database.answer_limit();
        let Ok(begun) = timeout(answer_limit, begun).await else {
            drop(session.take());
            return Err(no_answer(answer_limit));
        };
        begun?;
        let (messages, callbacks) = (Vec::new(), Vec::new());
        Ok(Self { session, answer_limit, last_writes: None, messages, callbacks })
    }

    /// A session that cannot be rolled back for certain, and soon, is closed: its end rolls back too, and frees the locks.
    async fn roll_back(mut self) {
        let balanced = self.is_balanced();
        let rolled_back = AnsiTransactionManager::rollback_transaction(&mut *self.session);
        let rolled_back = timeout(LONGEST_ROLLBACK, rolled_back).await;
        if !balanced || !matches!(rolled_back, Ok(Ok(()))) {
            self.abandon();
        }
    }

    /// A session that a panic or an open savepoint left in an unclear state is closed, not returned to the pool.
    fn abandon(self) {
        drop(self.session.take());
    }

    fn is_balanced(&mut self) -> bool {
        let status = AnsiTransactionManager::transaction_manager_status_mut(&mut *self.session);
        matches!(status.transaction_depth(), Ok(Some(depth)) if depth.get() == 1)
    }

    async fn complete<T, E>(mut self, value: T) -> Outcome<T, E> {
        if !self.is_balanced() {
            self.abandon();
            return Outcome::RolledBack(RollbackCause::Unbalanced);
        }
        let messages = std::mem::take(&mut self.messages);
        match AssertUnwindSafe(self.write(&messages)).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.roll_back().await;
                return Outcome::RolledBack(RollbackCause::Database(error));
            }
            Err(_panic) => {
                self.abandon();
                return Outcome::RolledBack(RollbackCause::Panicked);
            }
        }
        let committed = AnsiTransactionManager::commit_transaction(&mut *self.session);
        let Ok(committed) = timeout(self.answer_limit, committed).await else {
            let limit = self.answer_limit;
            self.abandon();
            return Outcome::Unknown(no_answer(limit));
        };
        match committed {
            Ok(()) => {
                // Back to the pool first: a callback may wake somebody who wants a session.
                drop(self.session);
                self.callbacks.into_iter().for_each(run_callback);
                Outcome::Committed(value)
            }
            Err(error) if proves_rollback(&error) => {
                self.abandon();
                Outcome::RolledBack(RollbackCause::Database(error.into()))
            }
            Err(error) => {
                self.abandon();
                Outcome::Unknown(error.into())
            }
        }
    }

    /// Polled in this order, so the outbox rows are on the wire last; all of it is one round trip.
    async fn write(&mut self, messages: &[OutboxMessage]) -> Result<(), DatabaseError> {
        let last_writes = self.last_writes.take();
        let session: &Session = &self.session;
        let writes = async {
            match last_writes {
                Some(writes) => writes(session).await,
                None => Ok(()),
            }
        };
        let written = async { try_join!(writes, outbox::append(session, messages)) };
        match timeout(self.answer_limit, written).await {
            Ok(written) => written.map(|_| ()),
            Err(_) => Err(no_answer(self.answer_limit)),
        }
    }
}

/// The server's own limit does not help when the server is frozen, or the way to it.
pub(crate) fn no_answer(limit: Duration) -> DatabaseError {
    DatabaseError::Unavailable(format!("no answer within {limit:?}"))
}

/// Runs `work` in one transaction and, after its COMMIT succeeded, the callbacks that it registered.
///
/// The work's error rolls back. The whole of it runs in a task of its own and is finished even when the
/// returned future is dropped.
pub async fn in_transaction<T, E, W>(database: &Database, work: W) -> Outcome<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
    W: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
{
    if IN_TRANSACTION.try_with(|()| ()).is_ok() {
        return Outcome::RolledBack(RollbackCause::Nested);
    }
    let for_task = database.clone();
    let running = async move {
        let began = Instant::now();
        let outcome = run(&for_task, work).await;
        for_task.metrics().ended(&outcome, began.elapsed());
        outcome
    };
    match database.spawn(running).await {
        Ok(outcome) => outcome,
        // The runtime stops, or there was a panic beyond the work and its writes: it may have been at any point.
        Err(stopped) => Outcome::Unknown(DatabaseError::Unavailable(stopped.to_string())),
    }
}

async fn run<T, E, W>(database: &Database, work: W) -> Outcome<T, E>
where
    W: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
{
    let mut transaction = match Transaction::begin(database).await {
        Ok(transaction) => transaction,
        Err(error) => return Outcome::RolledBack(RollbackCause::Database(error)),
    };
    let working = IN_TRANSACTION.scope((), async { work(&mut transaction).await });
    match AssertUnwindSafe(working).catch_unwind().await {
        Ok(Ok(value)) => transaction.complete(value).await,
        Ok(Err(error)) => {
            transaction.roll_back().await;
            Outcome::RolledBack(RollbackCause::Work(error))
        }
        Err(_panic) => {
            // The panic hook has reported it.
            transaction.abandon();
            Outcome::RolledBack(RollbackCause::Panicked)
        }
    }
}

fn run_callback(callback: Callback) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        error!("a transaction completion callback panicked; the transaction is committed all the same");
    }
}
