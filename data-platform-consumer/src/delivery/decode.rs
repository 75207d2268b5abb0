//! # Decoding
//!
//! Turns a record's bytes and headers into an event, or says why they are none. Nothing is guessed: an unknown
//! version, a body that is not what its version says, and two event ids that contradict each other are all
//! undecodable, and a record that cannot be understood must not be skipped either. What happens to it is the
//! caller's affair.

use std::sync::Arc;

use shared_messages::headers::{EventHeaders, EventType, HeaderError, ReceivedHeaders, TraceContext};
use shared_messages::{DecodeError, OrderCompletedMessage, Uuid};

use super::{Record, RecordPosition};

/// What is delivered to the data platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The record that carried it.
    pub record: Arc<Record>,
    /// Its id, of which a record of the original demonstration has none.
    pub event_id: Option<Uuid>,
    /// The trace in which the order was placed.
    pub trace: Option<TraceContext>,
    /// What happened.
    pub message: OrderCompletedMessage,
}

impl Event {
    /// Where its record lies.
    pub fn position(&self) -> &RecordPosition {
        self.record.position()
    }

    /// The same for every delivery of this event: its id, or where it lies if it has none.
    pub fn idempotency_key(&self) -> String {
        let RecordPosition { topic, partition, offset } = self.position();
        self.event_id.map_or_else(|| format!("{topic}-{partition}-{offset}"), |id| id.to_string())
    }
}

/// Why a record is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// The record has no value.
    #[error("the record has no value")]
    NoValue,
    /// Its headers are of an unknown version, or not what they say.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// Its value is not what its version says.
    #[error(transparent)]
    Value(#[from] DecodeError),
    /// Header and value name different events.
    #[error("header `ce_id` is {header}, but the value's eventId is {value}")]
    TwoIds {
        /// What the header says.
        header: Uuid,
        /// What the value says.
        value: Uuid,
    },
}

impl Event {
    /// Reads one record.
    pub fn decode(record: Arc<Record>) -> Result<Self, Undecodable> {
        let headers = EventHeaders::from_pairs(record.headers())?;
        let message = match headers.event_type {
            EventType::OrderCompletedV1 => {
                OrderCompletedMessage::from_json(record.value().ok_or(Undecodable::NoValue)?)?
            }
        };
        let event_id = event_id(&headers, &message)?;
        Ok(Self { event_id, trace: headers.trace, message, record })
    }
}

fn event_id(headers: &ReceivedHeaders, message: &OrderCompletedMessage) -> Result<Option<Uuid>, Undecodable> {
    let in_value = message.details.as_ref().map(|details| details.event_id);
    match (headers.event_id, in_value) {
        (Some(header), Some(value)) if header != value => Err(Undecodable::TwoIds { header, value }),
        (header, value) => Ok(header.or(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = include_bytes!("../../../shared-messages/golden/order-completed.v1.json");
    const ID: &str = "01971995-4f2a-7c1e-9a10-3d2c5b7e8f90";

    fn read(value: Option<&[u8]>, headers: &[(&str, &str)]) -> Result<Event, Undecodable> {
        let position = RecordPosition { topic: "order-completed".into(), partition: 2, offset: 7 };
        let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
        Event::decode(Arc::new(Record::new(position, None, Some(b"15"), value, headers)))
    }

    #[test]
    fn an_event_is_known_by_its_id_and_without_one_by_its_place() {
        let event = read(Some(VALUE), &[("ce_type", "order-completed.v1"), ("ce_id", ID)]).unwrap();
        assert_eq!(event.idempotency_key(), ID);
        assert_eq!(read(Some(VALUE), &[]).unwrap().idempotency_key(), ID, "the id in the value will do");
        let old = read(Some(br#"{"occurredAt":"2025-05-29T01:43","orderId":15}"#), &[]).unwrap();
        assert_eq!(old.idempotency_key(), "order-completed-2-7");
    }

    #[test]
    fn what_cannot_be_understood_is_not_guessed() {
        assert_eq!(read(None, &[]), Err(Undecodable::NoValue));
        assert!(matches!(read(Some(b"{"), &[]), Err(Undecodable::Value(_))));
        assert!(matches!(
            read(Some(VALUE), &[("ce_type", "order-completed.v2")]),
            Err(Undecodable::Headers(HeaderError::UnknownVersion { .. }))
        ));
        let other = "01971995-4f2a-7c1e-9a10-3d2c5b7e8f91";
        assert!(matches!(read(Some(VALUE), &[("ce_id", other)]), Err(Undecodable::TwoIds { .. })));
    }
}
