//! # Report
//!
//! How dead letters are shown: a line each for people, an object each for programs. What came from outside may hold
//! anything; on a terminal its control characters are shown, not obeyed.

use serde::Serialize;
use service_chassis::visible::visible;
use shared_messages::OccurredAt;
use shared_messages::dead_letter::{DeadLetterCause, OriginalRecord, Resolution};

use super::letter::Letter;

/// So much of a cause in words stands in a line; `dead-letters show` has all of it.
const WORDS_IN_A_LINE: usize = 80;

/// One dead letter, for a program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    id: String,
    partition: i32,
    offset: i64,
    parked_at: Option<OccurredAt>,
    original: Option<Original>,
    consumer_group: Option<String>,
    cause: Option<&'static str>,
    exception: Option<String>,
    message: String,
    attempts: Option<u32>,
    failing_since: Option<OccurredAt>,
    key: Option<String>,
    order_id: Option<i64>,
    event_id: Option<String>,
    /// Why it cannot be read, as this version sees it today.
    undecodable: Option<String>,
    resolution: Option<Resolved>,
}

#[derive(Debug, Serialize)]
struct Original {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: Option<OccurredAt>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resolved {
    outcome: &'static str,
    resolved_at: OccurredAt,
}

impl Summary {
    pub(super) fn of(letter: &Letter) -> Self {
        let headers = letter.headers.as_ref().ok();
        let event = letter.event.as_ref().ok();
        Self {
            id: letter.id.to_string(),
            partition: letter.id.partition,
            offset: letter.id.offset,
            parked_at: letter.parked_at(),
            original: headers.map(|headers| Original::of(&headers.original)),
            consumer_group: letter.consumer_group().map(str::to_owned),
            cause: headers.and_then(|headers| headers.cause).map(DeadLetterCause::as_str),
            exception: headers.and_then(|headers| headers.exception.clone()),
            message: letter.words(),
            attempts: headers.and_then(|headers| headers.attempts),
            failing_since: headers.and_then(|headers| headers.failing_since),
            key: letter.record.key().map(text_or_hex),
            order_id: event.map(|event| event.message.order_id),
            event_id: event.and_then(|event| event.event_id).map(|id| id.to_string()),
            undecodable: letter.event.as_ref().err().map(ToString::to_string),
            resolution: letter.resolution.map(Resolved::of),
        }
    }
}

impl Original {
    fn of(original: &OriginalRecord) -> Self {
        let OriginalRecord { topic, partition, offset, timestamp, .. } = original;
        let timestamp = timestamp.and_then(OccurredAt::from_millis);
        Self { topic: topic.clone(), partition: *partition, offset: *offset, timestamp }
    }
}

impl Resolved {
    fn of(resolution: Resolution) -> Self {
        Self { outcome: resolution.outcome.as_str(), resolved_at: resolution.resolved_at }
    }
}

/// A table: its head, and a line for each.
pub(super) fn lines<'a>(letters: impl IntoIterator<Item = &'a Letter>) -> Vec<String> {
    let head = row(["id", "parked", "original", "order", "event", "cause", "attempts", "in words"]);
    std::iter::once(head).chain(letters.into_iter().map(line)).collect()
}

pub(super) fn line(letter: &Letter) -> String {
    let headers = letter.headers.as_ref().ok();
    let event = letter.event.as_ref().ok();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let words = cut(&visible(&letter.words()));
    let words = match letter.resolution {
        Some(Resolution { outcome, resolved_at, .. }) => {
            format!("{outcome} {}: {words}", to_the_second(resolved_at))
        }
        None => words,
    };
    row([
        &letter.id.to_string(),
        &or_none(letter.parked_at().map(to_the_second)),
        &or_none(headers.map(|headers| visible(&headers.original.to_string()))),
        &or_none(event.map(|event| event.message.order_id.to_string())),
        &or_none(event.and_then(|event| event.event_id).map(|id| id.to_string())),
        headers.and_then(|headers| headers.cause).map_or("unknown", |cause| cause.as_str()),
        &or_none(headers.and_then(|headers| headers.attempts).map(|attempts| attempts.to_string())),
        &words,
    ])
}

fn row([id, parked, original, order, event, cause, attempts, words]: [&str; 8]) -> String {
    format!("{id:<8} {parked:<20} {original:<26} {order:>8} {event:<36} {cause:<11} {attempts:>8}  {words}")
        .trim_end()
        .to_owned()
}

fn to_the_second(time: OccurredAt) -> String {
    time.as_datetime().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The text, or its bytes as `0x…` if it is none.
pub(super) fn text_or_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    std::str::from_utf8(bytes).map_or_else(
        |_| {
            bytes.iter().fold("0x".to_owned(), |mut hex, byte| {
                // Writing to a String cannot fail.
                write!(hex, "{byte:02x}").ok();
                hex
            })
        },
        str::to_owned,
    )
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WORDS_IN_A_LINE {
        return text.to_owned();
    }
    text.chars().take(WORDS_IN_A_LINE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_shown_as_its_bytes() {
        assert_eq!(
            (text_or_hex(b"15"), text_or_hex(b"\xff\x00\x0a")),
            ("15".to_owned(), "0xff000a".to_owned())
        );
    }

    #[test]
    fn a_long_cause_is_cut_and_shows_it() {
        let text = "é".repeat(WORDS_IN_A_LINE);
        assert_eq!(cut(&text), text);
        let cut = cut(&"é".repeat(WORDS_IN_A_LINE + 1));
        assert_eq!((cut.chars().count(), cut.chars().last()), (WORDS_IN_A_LINE, Some('…')));
    }
}
