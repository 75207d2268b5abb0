//! # Checkout errors
//!
//! Split by what the buyer can do: change the order, change the key, try again later, or ask again under the
//! same key. *Nothing was stored* is said of this attempt alone: what an earlier one under the same key did is told only
//! by an answer that comes from a look-up, which is an order, [`CheckoutError::Refused`] or [`CheckoutError::KeyReused`].

use crate::domain::order::OrderRefusal;
use thiserror::Error;

/// Why there is no order to show.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckoutError {
    /// This order cannot be completed; nothing was stored, and it may be tried again.
    #[error(transparent)]
    Refused(#[from] OrderRefusal),
    /// Another request was completed under this key.
    #[error("the request key was used for another request")]
    KeyReused,
    /// More orders wait than are allowed; this one was not taken in.
    #[error("too many orders wait")]
    Overloaded,
    /// The database is away, or a row is locked by somebody else; nothing was stored.
    #[error("not now: {0}")]
    Unavailable(String),
    /// The order may be complete or not; the same key tells.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// A defect; nothing was stored.
    #[error("the order failed: {0}")]
    Failed(String),
}
