//! # The sink `log`
//!
//! Prints each event and waits: the slow data platform of the original demonstration. The line comes before
//! the wait, so a person sees the event arrive when it arrives.

use std::time::Duration;

use serde::Deserialize;

use super::{Delivery, Sink};
use crate::delivery::Event;

/// The settings `[sink.log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSinkSettings {
    /// How long the data platform is pretended to take.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
}

/// Prints `consume message=OrderCompletedMessage(…)`, then waits.
#[derive(Debug)]
pub struct LogSink {
    settings: LogSinkSettings,
}

impl LogSink {
    /// A sink with these settings.
    pub fn new(settings: LogSinkSettings) -> Self {
        Self { settings }
    }
}

impl Sink for LogSink {
    fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a> {
        Box::pin(async move {
            tracing::info!(
                order.id = event.message.order_id,
                event.id = event.idempotency_key(),
                kafka.partition = event.position().partition,
                kafka.offset = event.position().offset,
                "consume message={}",
                event.message
            );
            tokio::time::sleep(self.settings.wait).await;
            Ok(())
        })
    }
}
