//! # Delivery
//!
//! One record on its way to the data platform: read ([`decode`]), handed over ([`call`]), and tried again
//! when that failed ([`retry`]). A record that cannot be read stops its partition; once there are dead letters,
//! their place is here.

pub(crate) mod call;
pub mod decode;
pub mod record;
pub mod retry;

pub use decode::{Event, Undecodable};
pub use record::{Record, RecordPosition};
pub use retry::RetryPolicy;
