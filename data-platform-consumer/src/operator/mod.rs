//! # Operator
//!
//! What an operator decides and no consumer does by itself, as commands beside the running service.

pub(crate) mod client;
pub mod positions;
