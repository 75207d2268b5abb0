//! # Operator's commands
//!
//! What a person does beside the running consumers: [`dead_letters`]. These commands have clients of their own, share
//! the settings with the service, and end in a bounded time whatever Kafka does.

mod client;
pub mod dead_letters;
mod stop;

pub use stop::Stop;
