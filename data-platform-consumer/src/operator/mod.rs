//! # Operator's commands
//!
//! What a person decides and no consumer does by itself: [`dead_letters`] and [`positions`]; and what an audit reads. These commands have clients of
//! their own, are never members of the service's group, share the settings with it, and end in a bounded time whatever Kafka
//! does.

pub mod dead_letters;
mod patience;
pub mod positions;
mod stop;
mod time;
pub(crate) mod topic_reader;

pub use patience::Patience;
pub use stop::Stop;
pub use time::UnknownTime;
pub(crate) use time::time;
