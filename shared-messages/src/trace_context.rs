//! # Trace context (W3C)
//!
//! Carries a trace from the request that placed an order to the delivery of its event. Only valid values
//! get in, so what is sent on is always something a tracing system can read.

/// A valid `traceparent` with its `tracestate`, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    traceparent: String,
    tracestate: Option<String>,
}

/// Why something is no trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTraceContext {
    /// Not `00-<32 hex>-<16 hex>-<2 hex>`, or an id of zeros only.
    #[error("not a W3C traceparent")]
    Traceparent,
    /// Empty, longer than 512 characters, or not printable ASCII.
    #[error("not a W3C tracestate")]
    Tracestate,
}

impl TraceContext {
    /// Takes both after checking them.
    pub fn new(
        traceparent: impl Into<String>,
        tracestate: Option<String>,
    ) -> Result<Self, InvalidTraceContext> {
        let traceparent = traceparent.into();
        if !is_traceparent(&traceparent) {
            return Err(InvalidTraceContext::Traceparent);
        }
        if tracestate.as_deref().is_some_and(|state| !is_tracestate(state)) {
            return Err(InvalidTraceContext::Tracestate);
        }
        Ok(Self { traceparent, tracestate })
    }

    /// As another party sent them. The W3C rule: an invalid `traceparent` means no trace, an invalid
    /// `tracestate` is dropped by itself. A record is never refused for its tracing.
    pub fn from_received(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let state = tracestate.filter(|state| is_tracestate(state)).map(str::to_owned);
        Self::new(traceparent, state).ok()
    }

    /// `00-<trace id>-<parent id>-<flags>`
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// What the tracing vendors added.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }
}

fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(version), Some(trace_id), Some(parent_id), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    // Later versions may append fields; version 00 has exactly these.
    let ends_where_it_must = version != "00" || parts.next().is_none();
    is_hex(version, 2)
        && version != "ff"
        && is_hex(trace_id, 32)
        && trace_id.bytes().any(|digit| digit != b'0')
        && is_hex(parent_id, 16)
        && parent_id.bytes().any(|digit| digit != b'0')
        && is_hex(flags, 2)
        && ends_where_it_must
        && text.len() <= 512
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tracestate(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_trace_is_taken_as_it_is() {
        let trace = TraceContext::new(VALID, Some("vendor=1".to_owned())).unwrap();
        assert_eq!((trace.traceparent(), trace.tracestate()), (VALID, Some("vendor=1")));
        assert!(TraceContext::new(format!("cc{}-more", &VALID[2..]), None).is_ok(), "a later version");
    }

    #[test]
    fn an_invalid_traceparent_is_refused() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::new(text, None), Err(InvalidTraceContext::Traceparent), "{text}");
        }
    }

    #[test]
    fn a_bad_tracestate_is_refused_when_ours_and_dropped_when_received() {
        let bad = "x".repeat(513);
        assert_eq!(TraceContext::new(VALID, Some(bad.clone())), Err(InvalidTraceContext::Tracestate));
        let received = TraceContext::from_received(VALID, Some(&bad)).unwrap();
        assert_eq!(received.tracestate(), None);
        assert_eq!(TraceContext::from_received("nonsense", None), None);
    }
}
