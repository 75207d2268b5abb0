//! Why a record was not delivered, and what is written down when it becomes a dead letter.

use std::time::Instant;

use shared_messages::dead_letter::DeadLetterCause;

use super::Undecodable;
use crate::sink::DeliveryFailure;

/// Why a call for a record came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no event, so nobody was called.
    #[error("it cannot be understood: {0}")]
    Undecodable(#[from] Undecodable),
    /// The platform did not take it.
    #[error(transparent)]
    Platform(#[from] DeliveryFailure),
}

/// What is said of a record at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) kind: DeadLetterCause,
    /// In words.
    pub(crate) cause: String,
    /// How many calls there were.
    pub(crate) calls: u32,
    /// When the first of them failed.
    pub(crate) failing_since: Instant,
}
