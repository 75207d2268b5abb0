//! # What an audit takes from a record
//!
//! Who it is about, what it says, and whether it stands under the key of its order. Nothing is guessed: an unknown version, a body
//! that is not what its version says and two event ids that contradict each other are unreadable, as they are to the
//! readers of the topic.

use super::content::Content;
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared_messages::headers::{EventHeaders, EventType};
use shared_messages::topics::record_key;
use shared_messages::{OrderCompletedMessage, Uuid};

/// A key is quoted up to here.
const LONGEST_KEY: usize = 60;

/// Where a record stands in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// A record as it is on the wire.
#[derive(Debug)]
pub struct Raw<'a> {
    /// Where it stands.
    pub place: Place,
    /// Kafka's own time of it, milliseconds since 1970.
    pub millis: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// What is kept of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it stands.
    pub place: Place,
    /// Kafka's own time of it.
    pub time: Option<DateTime<Utc>>,
    /// What it says, or why that cannot be told.
    pub content: Result<Event, String>,
}

/// An event that a record carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The order.
    pub order_id: i64,
    /// The event.
    pub event_id: Uuid,
    /// When the order was completed, as the event says.
    pub occurred_at: DateTime<Utc>,
    /// What it says of the order; none: less than an order knows.
    pub content: Option<Content>,
    /// The record's key, if it is not that of its order.
    pub wrong_key: Option<String>,
}

impl Seen {
    /// Reads a record.
    pub fn of(raw: &Raw<'_>) -> Self {
        let time = raw.millis.and_then(DateTime::from_timestamp_millis);
        Self { place: raw.place, time, content: event(raw) }
    }
}

fn event(raw: &Raw<'_>) -> Result<Event, String> {
    let headers = EventHeaders::from_pairs(raw.headers.iter().copied()).map_err(|error| error.to_string())?;
    let EventType::OrderCompletedV1 = headers.event_type;
    let value = raw.value.ok_or("the record has no value")?;
    let message = OrderCompletedMessage::from_json(value).map_err(|error| error.to_string())?;
    let in_value = message.details.as_ref().map(|details| details.event_id);
    let event_id = match (headers.event_id, in_value) {
        (Some(header), Some(value)) if header != value => {
            return Err(format!("header `ce_id` is {header}, but the value's eventId is {value}"));
        }
        (header, value) => header.or(value).ok_or("it has no event id: another program has sent it")?,
    };
    Ok(Event {
        order_id: message.order_id,
        event_id,
        occurred_at: message.occurred_at.as_datetime(),
        content: Content::of_event(&message),
        wrong_key: wrong_key(raw.key, message.order_id),
    })
}

fn wrong_key(key: Option<&[u8]>, order_id: i64) -> Option<String> {
    let Some(key) = key else { return Some("no key".to_owned()) };
    let wanted = record_key(order_id);
    (key != wanted.as_bytes()).then(|| String::from_utf8_lossy(key).chars().take(LONGEST_KEY).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = include_bytes!("../../../shared-messages/golden/order-completed.v1.json");
    const ID: &str = "01971995-4f2a-7c1e-9a10-3d2c5b7e8f90";

    fn seen(key: Option<&str>, value: Option<&[u8]>, headers: &[(&str, &str)]) -> Seen {
        let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let place = Place { partition: 2, offset: 7 };
        Seen::of(&Raw { place, millis: Some(1_748_482_926_137), key: key.map(str::as_bytes), value, headers })
    }

    #[test]
    fn an_event_is_known_by_header_or_value_and_its_key_is_looked_at() {
        for headers in [&[("ce_type", "order-completed.v1"), ("ce_id", ID)][..], &[]] {
            let event = seen(Some("15"), Some(VALUE), headers).content.unwrap();
            assert_eq!((event.order_id, event.event_id.to_string()), (15, ID.to_owned()));
            assert_eq!(event.wrong_key, None);
        }
        let wrong = |key| seen(key, Some(VALUE), &[]).content.unwrap().wrong_key;
        assert_eq!(wrong(Some("16")).as_deref(), Some("16"));
        assert_eq!(wrong(None).as_deref(), Some("no key"));
    }

    #[test]
    fn what_cannot_be_understood_is_not_guessed() {
        let other = "01971995-4f2a-7c1e-9a10-3d2c5b7e8f91";
        let demonstration = br#"{"occurredAt":"2025-05-29T01:43","orderId":15}"#;
        for (value, headers) in [
            (None, &[][..]),
            (Some(&b"{"[..]), &[]),
            (Some(&demonstration[..]), &[]),
            (Some(VALUE), &[("ce_type", "order-completed.v2")]),
            (Some(VALUE), &[("ce_id", other)]),
        ] {
            let seen = seen(Some("15"), value, headers);
            assert!(seen.content.is_err(), "{seen:?}");
            assert_eq!(seen.time.unwrap().timestamp_millis(), 1_748_482_926_137);
        }
    }
}
