//! # Checkout
//!
//! The use case: a request becomes a completed order, or a refusal. In the order in which a request passes:
//!
//! - [`desk`]: waiting requests are gathered, first come, first served;
//! - [`batch`]: whatever waits becomes one transaction, and whatever goes wrong with it becomes the true answer of each
//!   of its requests;
//! - [`complete_orders`]: the transaction's work: lock, look up, decide, write.

pub mod batch;
pub mod complete_orders;
pub mod desk;
pub mod error;
pub mod limits;
pub mod request;

use self::batch::Batches;
use self::complete_orders::{Completed, Decided};
use self::desk::Desk;
use self::limits::DeskLimits;
use self::request::OrderRequest;
use crate::outbox::wake_up::WakeUp;
use crate::storage::database::Database;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// What checkouts are made of.
#[derive(Clone)]
pub struct CheckoutParts {
    /// Where orders are kept.
    pub database: Database,
    /// Wakes the relay after COMMIT.
    pub wake_up: WakeUp,
    /// The topic of `order-completed`.
    pub topic: Arc<str>,
    /// A request that has not begun by then is not bought; one that has is told that the outcome is unknown, and its
    /// transaction goes on.
    pub answer_timeout: Duration,
    /// How much waits, and how much is one transaction.
    pub desk: DeskLimits,
}

/// Completes orders. Clones share the desk, which closes with the last of them.
#[derive(Clone)]
pub struct Checkout {
    desk: Desk,
}

impl Checkout {
    /// Opens the desk. Must be called on the runtime that shall drive its workers.
    pub fn open(parts: CheckoutParts) -> Self {
        let CheckoutParts { database, wake_up, topic, answer_timeout, desk } = parts;
        let batches = Batches { database, wake_up, topic, recovery_limit: answer_timeout };
        Self { desk: Desk::open(batches, desk, answer_timeout) }
    }

    /// Completes one order. A request that was completed before is answered with the order it bought then.
    ///
    /// # Errors
    /// [`error::CheckoutError`]; only [`error::CheckoutError::OutcomeUnknown`] may have bought something.
    pub async fn complete(&self, request: OrderRequest) -> Completed {
        self.place(request).await.map(|purchase| purchase.order)
    }

    /// The same; the answer tells, too, whether the order is news.
    ///
    /// # Errors
    /// [`error::CheckoutError`].
    pub async fn place(&self, request: OrderRequest) -> Decided {
        self.desk.place(request).await
    }

    /// How many orders wait for their transaction to begin, or for their key.
    pub fn waiting(&self) -> usize {
        self.desk.waiting()
    }

    /// Shows what the desk measures.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.desk.register_metrics(registry);
    }

    /// Takes no more requests, and ends when what waited is answered.
    pub async fn close(&self) {
        self.desk.close().await;
    }
}
