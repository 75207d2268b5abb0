//! # How batches end
//!
//! With a verdict for each order. Those whose COMMIT was lost get theirs by the batch's [`Recovery`], which may take long and is
//! driven by whoever ran the batch.

use crate::checkout::complete_orders::Decided;
use crate::checkout::desk::Rows;
use crate::checkout::request::OrderRequest;
use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::Arc;

/// What becomes of one order.
#[derive(Debug)]
pub(in crate::checkout) enum Verdict {
    /// It is decided.
    Answer(Decided),
    /// It was rolled back, as somebody else holds a row of it: it waits in the slow lane.
    Postponed,
    /// The answer to its COMMIT was lost: the batch's recovery will tell.
    Uncertain,
}

/// How a batch ended.
#[derive(Debug)]
pub(in crate::checkout) struct Ended {
    /// One for each order, in their order.
    pub(in crate::checkout) verdicts: Vec<Verdict>,
    /// Rows that somebody else holds.
    pub(in crate::checkout) held: Rows,
    /// Rows that nobody else holds.
    pub(in crate::checkout) free: Rows,
    /// Looks for the outcome of all that are uncertain.
    pub(in crate::checkout) recovery: Option<Recovery>,
}

/// The search for what became of orders whose COMMIT was lost: they are run again until that is known, or there is no more time.
pub(in crate::checkout) struct Recovery {
    /// Those orders.
    pub(in crate::checkout) orders: Arc<[OrderRequest]>,
    /// It is driven by whoever has it.
    pub(in crate::checkout) running: BoxFuture<'static, Recovered>,
}

impl fmt::Debug for Recovery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recovery").field("orders", &self.orders).finish_non_exhaustive()
    }
}

/// How a recovery ended.
#[derive(Debug)]
pub(in crate::checkout) struct Recovered {
    /// One for each order, in their order.
    pub(in crate::checkout) answers: Vec<Decided>,
    /// Rows that nobody else holds.
    pub(in crate::checkout) free: Rows,
}
