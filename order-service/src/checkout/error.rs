//! # Checkout errors
//!
//! Split by what the buyer can do: change the order, change the key, try again later, or ask again under the
//! same key.

use crate::domain::order::OrderRefusal;
use crate::storage::error::DatabaseError;
use thiserror::Error;

/// Why there is no order to show.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckoutError {
    /// This order cannot be completed; nothing was stored, and it may be tried again.
    #[error(transparent)]
    Refused(#[from] OrderRefusal),
    /// Another request was completed under this key, or is about to be.
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

impl From<DatabaseError> for CheckoutError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(cause)
            | DatabaseError::NotAdmitted(cause)
            | DatabaseError::Locked(cause)
            | DatabaseError::Busy(cause) => Self::Unavailable(cause),
            DatabaseError::OutcomeUnknown(cause) => Self::OutcomeUnknown(cause),
            DatabaseError::Duplicate { .. } | DatabaseError::Refused(_) => Self::Failed(error.to_string()),
        }
    }
}
