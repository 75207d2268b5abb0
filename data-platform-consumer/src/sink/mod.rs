//! # Sinks
//!
//! The data platform, as seen from here: something that takes one event and says whether it has it. Kinds
//! are chosen by the setting `sink.kind`; another one is a module beside [`log`], a variant of
//! [`SinkKind`], and a section of the settings.

pub mod log;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Deserialize;

use crate::delivery::Event;
use log::{LogSink, LogSinkSettings};

/// A call under way.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), DeliveryFailure>> + Send + 'a>>;

/// The data platform.
///
/// A call must end by itself within a bounded time, and must bear being repeated: the same event comes again
/// after a crash, with the same [`Event::idempotency_key`].
pub trait Sink: Send + Sync + 'static {
    /// Hands the event over. `Ok` means that the platform has it for good.
    fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a>;
}

/// The platform does not have the event, or nobody knows whether it does. It is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryFailure {
    cause: String,
}

impl DeliveryFailure {
    /// With what is to be read in the log.
    pub fn new(cause: impl Into<String>) -> Self {
        Self { cause: cause.into() }
    }
}

impl fmt::Display for DeliveryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for DeliveryFailure {}

/// The kinds of data platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// Prints the event and waits.
    Log,
}

/// The settings `[sink]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkSettings {
    /// Which of them is in use.
    pub kind: SinkKind,
    /// What the kind `log` needs.
    pub log: LogSinkSettings,
}

/// The sink that the settings ask for.
pub(crate) fn build(settings: &SinkSettings) -> Arc<dyn Sink> {
    match settings.kind {
        SinkKind::Log => Arc::new(LogSink::new(settings.log.clone())),
    }
}
