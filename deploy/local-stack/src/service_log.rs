//! # What a service logs
//!
//! The stack runs its services with JSON logs, reads them, and shows the message alone: time and module are
//! noise to a person who watches. What is no JSON, a panic or a last sentence on standard error, is shown as
//! it is.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use serde::Deserialize;

/// A line of a service's log, as far as a person needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How bad it is.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// When it was said, if it says so.
    pub at: Option<DateTime<Utc>>,
    /// The id of the event that it is about, if it is about one.
    pub event: Option<String>,
}

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Everything else, and lines that have no level.
    Other,
}

/// Where a service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Requests; a consumer takes none.
    pub http: Option<SocketAddr>,
    /// Probes.
    pub management: SocketAddr,
}

#[derive(Deserialize)]
struct Json {
    level: String,
    message: Option<String>,
    timestamp: Option<DateTime<Utc>>,
    #[serde(rename = "event.id")]
    event: Option<String>,
}

impl LogLine {
    /// Reads one line, whatever it is.
    pub fn read(line: &str) -> Self {
        if let Ok(Json { level, message: Some(message), timestamp, event }) = serde_json::from_str(line) {
            return Self { level: level_of(&level), message, at: timestamp, event };
        }
        Self { level: Level::Other, message: line.trim_end().to_owned(), at: None, event: None }
    }

    /// Where the service listens, if this is the line that says so.
    pub fn listening(&self) -> Option<Listening> {
        let (_, addresses) = self.message.split_once("listening ")?;
        let address = |name: &str| {
            let (_, rest) = addresses.split_once(name)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Some(Listening { http: address("http="), management: address("management=")? })
    }

    /// The event that a consumer hands on, as text, if this is such a line.
    pub fn delivered(&self) -> Option<&str> {
        self.message.strip_prefix("consume message=")
    }
}

fn level_of(name: &str) -> Level {
    match name {
        "ERROR" => Level::Error,
        "WARN" => Level::Warn,
        _ => Level::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_taken_out_of_a_json_line() {
        let line = LogLine::read(
            r#"{"timestamp":"2026-11-23T18:00:00Z","level":"WARN","message":"slow","event.id":"3","target":"a::b"}"#,
        );
        let (level, message) = (Level::Warn, "slow".to_owned());
        let (at, event) = ("2026-11-23T18:00:00Z".parse().ok(), Some("3".to_owned()));
        assert!(at.is_some());
        assert_eq!(line, LogLine { level, message, at, event });
    }

    #[test]
    fn what_is_no_json_is_kept_as_it_is() {
        let line = LogLine::read("thread 'main' panicked at src/x.rs:1:1:");
        assert_eq!(line.message, "thread 'main' panicked at src/x.rs:1:1:");
    }

    #[test]
    fn addresses_are_found_in_the_listening_line() {
        let line = LogLine::read("listening http=127.0.0.1:8080 management=127.0.0.1:9");
        let listening = line.listening().unwrap();
        assert_eq!(listening.http, Some("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(listening.management, "127.0.0.1:9".parse().unwrap());
        let consumer = LogLine::read("listening management=127.0.0.1:9").listening().unwrap();
        assert_eq!(consumer.http, None);
        assert_eq!(LogLine::read("is listening to nobody").listening(), None);
    }

    #[test]
    fn a_delivered_event_is_told_by_its_line() {
        let event = "OrderCompletedMessage(occurredAt=2025-05-29T01:43:46.137371700, orderId=15)";
        assert_eq!(LogLine::read(&format!("consume message={event}")).delivered(), Some(event));
        assert_eq!(LogLine::read("order 15 completed").delivered(), None);
    }
}
