//! # Requests
//!
//! An event as the platform gets it. Its value goes on as it came, since it may hold fields that this version does not
//! know; it is known to be JSON, as it was decoded.

use std::fmt::Write as _;
use std::sync::Arc;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use shared_messages::headers::{CE_ID, CE_SOURCE, CE_SPECVERSION, CE_TYPE, TRACEPARENT, TRACESTATE};

use super::PlatformUrl;
use crate::delivery::{Event, Record};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How the names of CloudEvents attributes start, in Kafka and in HTTP.
const KAFKA_PREFIX: &str = "ce_";
const HTTP_PREFIX: &str = "ce-";

/// What is sent of one event.
#[derive(Debug)]
pub(super) struct Outgoing {
    record: Arc<Record>,
    key: String,
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl Outgoing {
    pub(super) fn of(event: &Event) -> Self {
        let trace = event.trace.as_ref();
        Self {
            record: Arc::clone(&event.record),
            key: event.idempotency_key(),
            traceparent: trace.map(|trace| trace.traceparent().to_owned()),
            tracestate: trace.and_then(|trace| trace.tracestate().map(str::to_owned)),
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The event by itself, in the binary mode of CloudEvents if it came in that.
    pub(super) fn request(&self, url: PlatformUrl) -> Request {
        let mut request = post(url.into_url(), self.value().to_vec());
        let headers = request.headers_mut();
        let own = [
            (IDEMPOTENCY_KEY, Some(&self.key)),
            (HeaderName::from_static(TRACEPARENT), self.traceparent.as_ref()),
            (HeaderName::from_static(TRACESTATE), self.tracestate.as_ref()),
        ];
        for (name, value) in own {
            // A key is an id or made of a topic's name, and a trace is printable: both fit into a header.
            if let Some(Ok(value)) = value.map(|value| HeaderValue::try_from(value.as_str())) {
                headers.insert(name, value);
            }
        }
        if is_cloud_event(&self.record) {
            add_attributes(&self.record, headers);
        }
        request
    }

    fn value(&self) -> &[u8] {
        self.record.value().unwrap_or_default()
    }
}

/// Several events as one array.
pub(super) fn of_batch(url: PlatformUrl, batch: &[Outgoing]) -> Request {
    let length = batch.iter().map(|outgoing| outgoing.value().len() + 256).sum();
    let mut body = Vec::with_capacity(length);
    for (index, outgoing) in batch.iter().enumerate() {
        body.push(if index == 0 { b'[' } else { b',' });
        push_element(outgoing, &mut body);
    }
    body.push(b']');
    post(url.into_url(), body)
}

fn push_element(outgoing: &Outgoing, body: &mut Vec<u8>) {
    let texts = [
        ("idempotencyKey", Some(&outgoing.key)),
        (TRACEPARENT, outgoing.traceparent.as_ref()),
        (TRACESTATE, outgoing.tracestate.as_ref()),
    ];
    body.push(b'{');
    for (name, text) in texts {
        if let Some(text) = text {
            push_text(name, body);
            body.push(b':');
            push_text(text, body);
            body.push(b',');
        }
    }
    body.extend_from_slice(b"\"event\":");
    body.extend_from_slice(outgoing.value());
    body.push(b'}');
}

/// As JSON. Keys and traces are printable, so nothing else needs a backslash.
fn push_text(text: &str, body: &mut Vec<u8>) {
    body.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => body.extend([b'\\', byte]),
            b'\t' => body.extend(*b"\\t"),
            other => body.push(other),
        }
    }
    body.push(b'"');
}

fn post(url: Url, body: Vec<u8>) -> Request {
    let mut request = Request::new(Method::POST, url);
    request.headers_mut().insert(CONTENT_TYPE, JSON);
    *request.body_mut() = Some(body.into());
    request
}

/// Whether it has what CloudEvents 1.0 demands.
fn is_cloud_event(record: &Record) -> bool {
    let has = |wanted: &&str| record.headers().any(|(name, value)| name == *wanted && value.is_some());
    [CE_SPECVERSION, CE_TYPE, CE_SOURCE, CE_ID].iter().all(has)
}

/// Every attribute, those of others too. Of one that is there twice the last counts, as in Kafka's own clients.
fn add_attributes(record: &Record, headers: &mut HeaderMap) {
    for (name, value) in record.headers() {
        let Some(attribute) = name.strip_prefix(KAFKA_PREFIX) else { continue };
        let is_name = !attribute.is_empty()
            && attribute.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        if let (true, Some(text)) = (is_name, text)
            && let Ok(name) = HeaderName::try_from(format!("{HTTP_PREFIX}{attribute}"))
            && let Ok(value) = HeaderValue::try_from(percent_encoded(text))
        {
            headers.insert(name, value);
        }
    }
}

/// As the HTTP binding of CloudEvents 1.0 has it, section 3.1.3.2.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn attributes_are_encoded_as_the_specification_shows() {
        assert_eq!(percent_encoded("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(percent_encoded("\"50%\""), "%2250%25%22");
        assert_eq!(percent_encoded("/order-service"), "/order-service");
    }
}
