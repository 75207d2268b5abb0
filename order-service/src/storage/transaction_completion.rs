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
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tracing::error;

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

/// An open transaction, as its work sees it.
pub struct Transaction {
    session: PooledSession,
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

    async fn begin(database: &Database) -> Result<Self, DatabaseError> {
        let mut session = database.session().await?;
        AnsiTransactionManager::begin_transaction(&mut *session).await?;
        Ok(Self { session, messages: Vec::new(), callbacks: Vec::new() })
    }

    /// A session that cannot be rolled back for certain is closed: its end rolls back too, and frees the locks.
    async fn roll_back(mut self) {
        if !self.is_balanced()
            || AnsiTransactionManager::rollback_transaction(&mut *self.session).await.is_err()
        {
            self.abandon();
        }
    }

    /// A session that a panic or an open savepoint left in an unclear state is closed, not returned to the pool.
    fn abandon(self) {
        drop(PooledSession::take(self.session));
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
        if let Err(error) = outbox::append(&mut self.session, &messages).await {
            self.roll_back().await;
            return Outcome::RolledBack(RollbackCause::Database(error));
        }
        match AnsiTransactionManager::commit_transaction(&mut *self.session).await {
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
    match database.spawn(async move { run(&for_task, work).await }).await {
        Ok(outcome) => outcome,
        // The runtime stops: it may have been at any point.
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
