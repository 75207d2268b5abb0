//! # The contract between order-service and the readers of its topic
//!
//! What Kafka carries about an order, and nothing else: the event's body, its headers, the topic and the
//! rule that makes a key. Both services take it from here, so neither knows the other.
//!
//! Changes are additive only. The version stands in the header `ce_type`; a record without it is version
//! 1; a version that this crate does not know is an error, never a guess. `golden/` keeps every version
//! ever published, and `tests/golden.rs` fails when a change would break one.
//!
//! There is no Kafka client, no HTTP and no database in here.

pub mod dead_letter;
pub mod headers;
mod occurred_at;
mod order_completed;
pub mod topics;
mod trace_context;

pub use occurred_at::{InvalidTime, OccurredAt};
pub use order_completed::{DecodeError, EncodeError, OrderCompletedMessage, OrderDetails, OrderLine};

/// Identifies an event; the same for every delivery of it.
pub use uuid::Uuid;
