//! # Answers
//!
//! What each answer of a platform means for the event, as a pure function:
//!
//! | answer | means |
//! |---|---|
//! | 2xx, read to its end | taken |
//! | 429; 503 with `Retry-After` | throttled: nobody is called for that long, at most an hour, and `longest_retry_after` |
//! | 408, 425, 423, other 5xx; no answer in time, no connection, an answer that breaks off | unavailable: tried again |
//! | 409 | unavailable: a call with the same key is still under way, as platforms that know `Idempotency-Key` say it |
//! | 400, 413, 422, 431, 451 | rejected: the platform will never take this event |
//! | 3xx, 401, 403, 404, 405, 415, any other 4xx; 207 | misconfigured: it would take no event as things are |
//! | a certificate that is not trusted, or another failure of TLS | misconfigured |
//!
//! An answer that nobody has heard of is *misconfigured* rather than *rejected*: that loses nothing, and a person looks.
//! 207 says that each event of a batch has an answer of its own, which is not read here: such a platform wants
//! `sink.http.batch = 1`.
//!
//! Of a batch, 400, 413, 422, 431, 451 and those 5xx that a gateway does not give by itself may be the fault of one event.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use service_chassis::exit::causes;
use service_chassis::visible::visible;

use crate::delivery::breaker::LONGEST_RETRY_AFTER;
use crate::sink::DeliveryFailure;

/// The most characters of an answer's body that are told on.
const LONGEST_QUOTE: usize = 200;

/// Why the platform did not take what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) failure: DeliveryFailure,
    /// Whether another event could have been taken.
    pub(super) of_content: bool,
}

/// What an answer means that is not *taken*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Classified {
    Throttled(Option<Duration>),
    Unavailable { of_content: bool },
    Rejected,
    Misconfigured(&'static str),
}

/// The table above.
pub(super) fn classify(status: StatusCode, retry_after: Option<Duration>) -> Result<(), Classified> {
    const ADDRESS: &str = "correct sink.http.url";
    let cure = match status.as_u16() {
        207 => "it answers for each event by itself: set sink.http.batch to 1",
        200..=299 => return Ok(()),
        429 => return Err(Classified::Throttled(retry_after)),
        503 if retry_after.is_some() => return Err(Classified::Throttled(retry_after)),
        408 | 409 | 423 | 425 | 502..=504 => return Err(Classified::Unavailable { of_content: false }),
        500..=599 => return Err(Classified::Unavailable { of_content: true }),
        400 | 413 | 422 | 431 | 451 => return Err(Classified::Rejected),
        300..=399 => "it sends elsewhere, which is not followed: name the last address in sink.http.url",
        401 | 403 => "give it what it wants in sink.http.headers, such as authorization",
        407 => "a proxy stands between and wants a password; this service uses none",
        404 | 405 | 410 | 421 => ADDRESS,
        415 => {
            "it does not take application/json: correct sink.http.url, or see whether it wants single events"
        }
        _ => "nobody knows what it means by that: see the platform's log, and sink.http.url",
    };
    Err(Classified::Misconfigured(cure))
}

impl Classified {
    /// With the answer as the cause.
    pub(super) fn told_with(self, status: StatusCode, body: &[u8]) -> Refusal {
        let quote = quote(body);
        let colon = if quote.is_empty() { "" } else { ": " };
        let answer = format!("the platform answered {status}{colon}{quote}");
        let (failure, of_content) = match self {
            Self::Throttled(retry_after) => (DeliveryFailure::throttled(answer, retry_after), false),
            Self::Unavailable { of_content } => (DeliveryFailure::unavailable(answer), of_content),
            Self::Rejected => (DeliveryFailure::rejected(answer), true),
            Self::Misconfigured(cure) => {
                (DeliveryFailure::misconfigured(format!("{answer} ({cure})")), false)
            }
        };
        Refusal { failure, of_content }
    }
}

/// What it means that there is no answer, or no whole one.
pub(super) fn of_silence(error: reqwest::Error, timeout: Duration) -> Refusal {
    let error = error.without_url();
    let failure = if error.is_timeout() && !error.is_connect() {
        DeliveryFailure::unavailable(format!("the platform did not answer within {timeout:?}"))
    } else if let Some(tls) = tls_error(&error) {
        let cure = "see sink.http.url, and sink.http.ca_file for an authority of your own";
        DeliveryFailure::misconfigured(format!("no TLS with the platform: {tls} ({cure})"))
    } else if error.is_connect() {
        DeliveryFailure::unavailable(format!("the platform cannot be reached: {}", innermost(&error)))
    } else if error.is_builder() {
        DeliveryFailure::misconfigured(format!("no request can be made: {}", innermost(&error)))
    } else {
        DeliveryFailure::unavailable(format!("the platform broke off: {}", innermost(&error)))
    };
    Refusal { failure, of_content: false }
}

/// How long to wait, in seconds or until a time.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are a long time, too.
        text.parse().map_or(LONGEST_RETRY_AFTER, Duration::from_secs)
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// The start of a body in one line. It is a foreign text: nothing in it may steer a terminal or forge a log line.
fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let printable = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    let words: String = printable.take(LONGEST_QUOTE).collect();
    visible(&words.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The client's errors only say where they came from; the last cause says what happened.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| {
        let mut inner = cause;
        // An I/O error holds another without naming it as its source.
        while let Some(held) = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            inner = held;
        }
        inner.downcast_ref()
    })
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
