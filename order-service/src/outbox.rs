//! # Outbox
//!
//! What was committed and must become an event: [`message`] is the row, [`wake_up`] the signal after COMMIT,
//! [`relay`] the one publisher, [`in_flight`] what it has sent and not yet seen acknowledged, [`failed_rows`] what was refused.

pub mod delay_alarm;
pub mod failed_rows;
pub mod in_flight;
pub mod message;
pub mod relay;
pub mod wake_up;
