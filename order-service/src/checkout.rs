//! # Checkout
//!
//! The use case: a request becomes a completed order, or a refusal, in one transaction. [`complete_orders()`] is
//! that transaction's work, for any number of requests; [`Checkout`] runs it and turns its outcome into one
//! answer. (A desk in front of it that gathers waiting requests into one transaction takes its place here.)

pub mod complete_orders;
pub mod error;
pub mod limits;
pub mod request;

use self::complete_orders::{Completed, complete_orders};
use self::error::CheckoutError;
use self::request::OrderRequest;
use crate::domain::order::CompletedOrder;
use crate::outbox::wake_up::WakeUp;
use crate::storage::database::Database;
use crate::storage::error::DatabaseError;
use crate::storage::orders::REQUEST_KEY_CONSTRAINT;
use crate::storage::transaction_completion::{Outcome, RollbackCause, in_transaction};
use chrono::{DateTime, SubsecRound, Utc};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Completes orders. Clones share the database's pool.
#[derive(Clone)]
pub struct Checkout {
    /// Where orders are kept.
    pub database: Database,
    /// Wakes the relay after COMMIT.
    pub wake_up: WakeUp,
    /// The topic of `order-completed`.
    pub topic: Arc<str>,
    /// After this time the buyer is told that the outcome is unknown; the transaction goes on.
    pub answer_timeout: Duration,
}

type TransactionOutcome = Outcome<Vec<Completed>, DatabaseError>;

impl Checkout {
    /// Completes one order. A request that was completed before is answered with the order it bought then.
    ///
    /// # Errors
    /// [`CheckoutError`]; only [`CheckoutError::OutcomeUnknown`] may have bought something.
    pub async fn complete(&self, request: OrderRequest) -> Result<CompletedOrder, CheckoutError> {
        match timeout(self.answer_timeout, self.settled(Arc::from([request]))).await {
            Ok(answer) => answer,
            Err(_) => Err(CheckoutError::OutcomeUnknown(format!(
                "the database has not answered within {:?}",
                self.answer_timeout
            ))),
        }
    }

    async fn settled(&self, requests: Arc<[OrderRequest]>) -> Completed {
        let mut outcome = self.run(&requests).await;
        if is_twin(&outcome) {
            // Another request under the same key, for other products, was first. It is committed now, so the
            // look-up of a second run finds it.
            outcome = self.run(&requests).await;
        }
        let completed = settle(outcome)?.pop();
        completed.ok_or_else(|| CheckoutError::Failed("the transaction answered no request".to_owned()))?
    }

    async fn run(&self, requests: &Arc<[OrderRequest]>) -> TransactionOutcome {
        let (requests, topic, wake_up) = (requests.clone(), self.topic.clone(), self.wake_up.clone());
        in_transaction(&self.database, move |transaction| {
            async move {
                transaction.after_commit(move || wake_up.wake());
                complete_orders(transaction, &requests, &topic, now).await
            }
            .boxed()
        })
        .await
    }
}

fn settle(outcome: TransactionOutcome) -> Result<Vec<Completed>, CheckoutError> {
    match outcome {
        Outcome::Committed(completed) => Ok(completed),
        Outcome::RolledBack(RollbackCause::Work(error) | RollbackCause::Database(error)) => Err(error.into()),
        Outcome::RolledBack(RollbackCause::Panicked) => Err(CheckoutError::Failed("it panicked".to_owned())),
        Outcome::RolledBack(RollbackCause::Nested | RollbackCause::Unbalanced) => {
            Err(CheckoutError::Failed("its transaction was not used as it must be".to_owned()))
        }
        Outcome::Unknown(error) => Err(CheckoutError::OutcomeUnknown(error.to_string())),
    }
}

fn is_twin(outcome: &TransactionOutcome) -> bool {
    matches!(
        outcome,
        Outcome::RolledBack(RollbackCause::Work(DatabaseError::Duplicate { constraint }))
            if constraint == REQUEST_KEY_CONSTRAINT
    )
}

/// Whole microseconds: what the database keeps, so that a repeated answer equals the first.
fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
