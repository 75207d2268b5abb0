//! # Delivery
//!
//! One record on its way to the data platform: copied from Kafka ([`record`]), read as an event ([`decode`]), handed over
//! ([`call`]), and tried again when that failed ([`retry`]), as long as the platform bears it ([`breaker`]). One that is at
//! fault itself ([`fault`], [`blame`]) becomes a dead letter ([`dead_letters`]), up to a [`ceiling`].

pub mod blame;
pub mod breaker;
pub(crate) mod call;
pub mod ceiling;
pub(crate) mod dead_letter_end;
pub(crate) mod dead_letters;
pub mod decode;
pub mod fault;
pub mod record;
pub mod retry;

pub use decode::{Event, Undecodable};
pub use fault::Fault;
pub use record::{Record, RecordPosition, RecordTime};
pub use retry::RetryPolicy;
