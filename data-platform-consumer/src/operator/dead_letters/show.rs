//! # Show
//!
//! Everything about one dead letter.

use serde::Serialize;
use service_chassis::visible::visible;
use shared_messages::dead_letter::{ORIGINAL_OFFSET, ORIGINAL_PARTITION, ORIGINAL_TIMESTAMP, Resolution};

use super::letter::Letter;
use super::report::{Summary, text_or_hex};

/// One dead letter with all that it carries, for a program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Whole {
    #[serde(flatten)]
    summary: Summary,
    headers: Vec<Header>,
    /// The body, if it is text.
    value: Option<String>,
    /// The body's bytes, if it is none.
    value_hex: Option<String>,
}

#[derive(Debug, Serialize)]
struct Header {
    name: String,
    value: Option<String>,
}

impl Whole {
    pub(super) fn of(letter: &Letter) -> Self {
        let value =
            letter.record.value().map(|bytes| (std::str::from_utf8(bytes).is_ok(), text_or_hex(bytes)));
        let headers = letter.record.headers().map(|(name, value)| Header {
            name: name.to_owned(),
            value: value.map(|value| header(name, value)),
        });
        Self {
            summary: Summary::of(letter),
            headers: headers.collect(),
            value: value.clone().filter(|(is_text, _)| *is_text).map(|(_, text)| text),
            value_hex: value.filter(|(is_text, _)| !*is_text).map(|(_, hex)| hex),
        }
    }
}

/// For people.
pub(super) fn lines(letter: &Letter) -> Vec<String> {
    let mut lines = vec![format!("dead letter  {}", letter.id)];
    let mut tell = |name: &str, text: String| lines.push(format!("{name:<12} {}", visible(&text)));
    tell("state", state(letter.resolution));
    if let Some(at) = letter.parked_at() {
        tell("parked", at.to_string());
    }
    if let Ok(headers) = &letter.headers {
        tell("original", headers.original.to_string());
        tell("group", headers.consumer_group.clone().unwrap_or_else(|| "not told".to_owned()));
        tell("cause", headers.cause.map_or("unknown", |cause| cause.as_str()).to_owned());
        if let Some(attempts) = headers.attempts {
            tell("attempts", attempts.to_string());
        }
        if let Some(since) = headers.failing_since {
            tell("failing", format!("since {since}"));
        }
        if let Some(exception) = &headers.exception {
            tell("exception", exception.clone());
        }
    }
    tell("in words", letter.words());
    match &letter.event {
        Ok(event) => tell("event", format!("{} {}", event.idempotency_key(), event.message)),
        Err(undecodable) => tell("event", format!("cannot be read: {undecodable}")),
    }
    tell("key", letter.record.key().map_or_else(|| "none".to_owned(), text_or_hex));
    for (name, value) in letter.record.headers() {
        tell("header", format!("{name}: {}", value.map_or_else(String::new, |value| header(name, value))));
    }
    tell("body", letter.record.value().map_or_else(|| "none".to_owned(), text_or_hex));
    lines
}

fn state(resolution: Option<Resolution>) -> String {
    resolution.map_or_else(
        || "open".to_owned(),
        |Resolution { outcome, resolved_at, .. }| format!("{outcome} at {resolved_at}"),
    )
}

/// Spring's numbers as numbers, text as text.
fn header(name: &str, value: &[u8]) -> String {
    let number = match name {
        ORIGINAL_PARTITION => value.try_into().ok().map(i32::from_be_bytes).map(i64::from),
        ORIGINAL_OFFSET | ORIGINAL_TIMESTAMP => value.try_into().ok().map(i64::from_be_bytes),
        _ => None,
    };
    number.map_or_else(|| text_or_hex(value), |number| number.to_string())
}
