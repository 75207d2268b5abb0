//! # Sinks
//!
//! The data platform, as seen from here: something that takes one event and says whether it has it. Kinds
//! are chosen by the setting `sink.kind`; another one is a module beside [`log`], a variant of
//! [`SinkKind`], and a section of the settings. One that takes several events at once gathers them by [`batching`].

mod batching;
pub mod http;
pub mod log;
pub mod postgres;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::delivery::Event;
use http::{HttpSink, HttpSinkSettings};
use log::{LogSink, LogSinkSettings};
use postgres::{PostgresSink, PostgresSinkSettings};

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

/// The platform does not have the event, or nobody knows whether it does. What follows from it depends on whose fault it
/// is, which the sink tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryFailure {
    kind: FailureKind,
    cause: String,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The platform is away, took too long, or failed by itself. It is tried again; only if that goes on while other
    /// records are taken, the record is at fault.
    Unavailable,
    /// The platform wants fewer calls, for so long if it says so. It is never the record's fault.
    Throttled {
        /// How long to call nobody.
        retry_after: Option<Duration>,
    },
    /// The platform will never take this record, and says so.
    Rejected,
    /// The sink cannot make of this record what the platform takes. Nobody was asked, so it says nothing of the platform.
    Unfit,
    /// The platform takes nothing from us: a wrong address, a password, a table that is not there. An operator must
    /// look; it is never the record's fault.
    Misconfigured,
}

impl DeliveryFailure {
    /// The platform is away, or failed by itself.
    pub fn unavailable(cause: impl Into<String>) -> Self {
        Self { kind: FailureKind::Unavailable, cause: cause.into() }
    }

    /// The platform wants fewer calls.
    pub fn throttled(cause: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self { kind: FailureKind::Throttled { retry_after }, cause: cause.into() }
    }

    /// The platform will never take this record.
    pub fn rejected(cause: impl Into<String>) -> Self {
        Self { kind: FailureKind::Rejected, cause: cause.into() }
    }

    /// The sink cannot make of this record what the platform takes, and has not asked it.
    pub fn unfit(cause: impl Into<String>) -> Self {
        Self { kind: FailureKind::Unfit, cause: cause.into() }
    }

    /// The platform takes nothing from us.
    pub fn misconfigured(cause: impl Into<String>) -> Self {
        Self { kind: FailureKind::Misconfigured, cause: cause.into() }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> FailureKind {
        self.kind
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
    /// Posts the event to a URL.
    Http,
    /// Writes the event into a table.
    Postgres,
}

/// The settings `[sink]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkSettings {
    /// Which of them is in use.
    pub kind: SinkKind,
    /// What the kind `log` needs.
    pub log: LogSinkSettings,
    /// What the kind `http` needs.
    pub http: HttpSinkSettings,
    /// What the kind `postgres` needs.
    pub postgres: PostgresSinkSettings,
}

impl SinkSettings {
    /// How long one request of the sink in use may take. A call that waits behind others takes longer.
    pub(crate) fn longest_call(&self) -> Duration {
        match self.kind {
            SinkKind::Log => self.log.wait,
            SinkKind::Http => self.http.connect_timeout.saturating_add(self.http.timeout),
            SinkKind::Postgres => {
                self.postgres.connect_timeout.saturating_add(self.postgres.statement_timeout)
            }
        }
    }
}

/// Why there can be no sink with these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct SinkRefused {
    /// The setting to change.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl SinkRefused {
    fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

/// The rules that a sink's settings keep, whether it is in use or not.
pub(crate) fn check(settings: &SinkSettings) -> Result<(), SinkRefused> {
    let broken = http::broken_rule(&settings.http).or_else(|| postgres::broken_rule(&settings.postgres));
    broken.map_or(Ok(()), Err)
}

/// The sink that the settings ask for.
pub(crate) fn build(settings: &SinkSettings) -> Result<Arc<dyn Sink>, SinkRefused> {
    Ok(match settings.kind {
        SinkKind::Log => Arc::new(LogSink::new(settings.log.clone())),
        SinkKind::Http => Arc::new(HttpSink::new(&settings.http)?),
        SinkKind::Postgres => Arc::new(PostgresSink::new(&settings.postgres)?),
    })
}
