//! # Outbox
//!
//! What was committed and must become an event: [`message`] is the row, [`message_headers`] its headers, [`wake_up`] the signal after COMMIT,
//! [`relay`] the one publisher, [`lease`] whether it is this instance's turn, [`scan_floor`] where its reads begin, [`in_flight`] what it has sent and not yet seen acknowledged, [`parked_rows`] what waits for its partition, [`failed_rows`] what was refused, [`pace`] how fast a backlog goes,
//! [`backlog`] what an operator sees of it, [`delay_alarm`] and [`size_alarm`] what wakes him, [`republication`] writes rows of stored orders again.

pub mod backlog;
pub mod delay_alarm;
pub mod failed_rows;
pub mod in_flight;
pub mod lease;
pub mod message;
pub mod message_headers;
pub mod pace;
pub mod parked_rows;
pub mod relay;
pub mod relay_metrics;
pub mod republication;
pub mod scan_floor;
pub mod size_alarm;
pub mod wake_up;
