//! # Headers: CloudEvents 1.0 in Kafka's binary mode, and the trace
//!
//! The body stays plain JSON, so a reader that knows nothing of CloudEvents loses nothing. The version of
//! the event stands in `ce_type`, nowhere else. A foreign producer may send none of these headers: then the
//! record is of version 1. A type that is not known here is an error: parked, not guessed. Headers of
//! others, such as Spring's `__TypeId__`, are ignored, and none of them is ever sent.

use uuid::Uuid;

use crate::OccurredAt;
pub use crate::trace_context::{InvalidTraceContext, TraceContext};

/// The version of CloudEvents.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// The event's type and version, see [`EventType`].
pub const CE_TYPE: &str = "ce_type";
/// Who published the event.
pub const CE_SOURCE: &str = "ce_source";
/// The event's id.
pub const CE_ID: &str = "ce_id";
/// When it occurred.
pub const CE_TIME: &str = "ce_time";
/// The order's id.
pub const CE_SUBJECT: &str = "ce_subject";
/// The media type of the body.
pub const CONTENT_TYPE: &str = "content-type";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, what vendors add.
pub const TRACESTATE: &str = "tracestate";

const SPECVERSION: &str = "1.0";
const JSON: &str = "application/json";

/// Every type and version of event that this crate can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// An order was completed, version 1.
    OrderCompletedV1,
}

impl EventType {
    /// As it stands in `ce_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderCompletedV1 => "order-completed.v1",
        }
    }

    fn from_header(text: &str) -> Result<Self, HeaderError> {
        match text {
            "order-completed.v1" => Ok(Self::OrderCompletedV1),
            unknown => Err(HeaderError::UnknownVersion { found: brief(unknown) }),
        }
    }
}

/// What we send with every event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHeaders {
    /// The same for every delivery of this event.
    pub event_id: Uuid,
    /// What the body is.
    pub event_type: EventType,
    /// Who published it, such as `/order-service`.
    pub source: String,
    /// When it occurred.
    pub time: OccurredAt,
    /// The order's id as text.
    pub subject: String,
    /// The trace in which the order was placed.
    pub trace: Option<TraceContext>,
}

/// What came with a record. A foreign producer may send nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedHeaders {
    /// The event's id.
    pub event_id: Option<Uuid>,
    /// What the body is; version 1 when nothing is said.
    pub event_type: EventType,
    /// Who published it.
    pub source: Option<String>,
    /// When it occurred.
    pub time: Option<OccurredAt>,
    /// The order's id as text.
    pub subject: Option<String>,
    /// The trace in which the order was placed.
    pub trace: Option<TraceContext>,
}

/// Why a record's headers cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A type, or a version of it, that is not known here.
    #[error("unknown event type or version `{found}`")]
    UnknownVersion {
        /// What stood there, cut to a readable length.
        found: String,
    },
    /// A header that is there but is not what its name says.
    #[error("header `{name}` is not valid: {cause}")]
    Invalid {
        /// The header's name.
        name: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

impl EventHeaders {
    /// The headers of the record, in the order in which they are sent.
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            (CE_SPECVERSION, SPECVERSION.to_owned()),
            (CE_TYPE, self.event_type.as_str().to_owned()),
            (CE_SOURCE, self.source.clone()),
            (CE_ID, self.event_id.to_string()),
            (CE_TIME, self.time.to_string()),
            (CE_SUBJECT, self.subject.clone()),
            (CONTENT_TYPE, JSON.to_owned()),
        ];
        if let Some(trace) = &self.trace {
            pairs.push((TRACEPARENT, trace.traceparent().to_owned()));
            pairs.extend(trace.tracestate().map(|state| (TRACESTATE, state.to_owned())));
        }
        pairs
    }

    /// Reads a record's headers. Of a header that is there twice the last one counts, as in Kafka's own
    /// clients; a header without a value counts as absent.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<ReceivedHeaders, HeaderError> {
        let raw = RawHeaders::collect(pairs);
        if let Some(found) = text(CE_SPECVERSION, raw.specversion)?
            && found != SPECVERSION
        {
            return Err(HeaderError::UnknownVersion { found: format!("CloudEvents {}", brief(found)) });
        }
        let event_type = text(CE_TYPE, raw.event_type)?.map(EventType::from_header).transpose()?;
        let event_id = text(CE_ID, raw.id)?.map(Uuid::parse_str).transpose();
        let time = text(CE_TIME, raw.time)?.map(OccurredAt::parse).transpose();
        let traceparent = text(TRACEPARENT, raw.traceparent).unwrap_or_default();
        let tracestate = text(TRACESTATE, raw.tracestate).unwrap_or_default();
        Ok(ReceivedHeaders {
            event_id: event_id.map_err(|error| invalid(CE_ID, &error))?,
            event_type: event_type.unwrap_or(EventType::OrderCompletedV1),
            source: text(CE_SOURCE, raw.source)?.map(str::to_owned),
            time: time.map_err(|error| invalid(CE_TIME, &error))?,
            subject: text(CE_SUBJECT, raw.subject)?.map(str::to_owned),
            trace: traceparent.and_then(|parent| TraceContext::from_received(parent, tracestate)),
        })
    }
}

#[derive(Default)]
struct RawHeaders<'a> {
    specversion: Option<&'a [u8]>,
    event_type: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
    tracestate: Option<&'a [u8]>,
}

impl<'a> RawHeaders<'a> {
    fn collect(pairs: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let mut raw = Self::default();
        for (name, value) in pairs {
            let place = match name {
                CE_SPECVERSION => &mut raw.specversion,
                CE_TYPE => &mut raw.event_type,
                CE_SOURCE => &mut raw.source,
                CE_ID => &mut raw.id,
                CE_TIME => &mut raw.time,
                CE_SUBJECT => &mut raw.subject,
                TRACEPARENT => &mut raw.traceparent,
                TRACESTATE => &mut raw.tracestate,
                _ => continue,
            };
            *place = value;
        }
        raw
    }
}

fn text<'a>(name: &'static str, value: Option<&'a [u8]>) -> Result<Option<&'a str>, HeaderError> {
    value.map(std::str::from_utf8).transpose().map_err(|error| invalid(name, &error))
}

fn invalid(name: &'static str, cause: &dyn std::error::Error) -> HeaderError {
    HeaderError::Invalid { name, cause: cause.to_string() }
}

/// A foreign header can be of any length; an error's text must not be.
fn brief(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
