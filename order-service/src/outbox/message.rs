//! # Outbox message
//!
//! The row that must become an event. An order's message is made here, from the order and nothing else, so
//! that it could be made again.

use crate::domain::order::CompletedOrder;
use crate::outbox::message_headers::MessageHeaders;
use shared_messages::headers::{EventHeaders, EventType, TraceContext};
use shared_messages::{EncodeError, OccurredAt, OrderCompletedMessage, OrderDetails, OrderLine, topics};
use thiserror::Error;
use uuid::Uuid;

/// The `ce_source` of every event of this service.
pub const EVENT_SOURCE: &str = "/order-service";

/// A message that is committed with its transaction and then published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxMessage {
    /// The topic it goes to.
    pub topic: String,
    /// The record's key: events of one key are published in the order in which they were committed.
    pub key: String,
    /// Names the event; a repeat has the same.
    pub event_id: Uuid,
    /// The record's value, JSON.
    pub payload: String,
    /// The record's headers.
    pub headers: MessageHeaders,
}

/// A message as the relay reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    /// Names the row. Within one key, its order is the order of the commits.
    pub seq: i64,
    /// What to publish.
    pub message: OutboxMessage,
}

/// The most that the record of an order with so many lines has, in bytes: value, key, headers and what the protocol adds.
pub fn largest_event(lines: usize) -> usize {
    const LINE: usize = 130;
    const REST: usize = 2_500;
    lines.saturating_mul(LINE).saturating_add(REST)
}

/// Why an order cannot be told to the world.
#[derive(Debug, Error)]
pub enum MessageError {
    /// It has no JSON form.
    #[error("the event of order {order_id} cannot be written: {cause}")]
    Encode {
        /// The order.
        order_id: i64,
        /// The encoder's words.
        cause: String,
    },
}

/// The `order-completed` message of an order.
///
/// # Errors
/// [`MessageError::Encode`]; it is a defect, as every completed order has a JSON form.
pub fn order_completed(
    order: &CompletedOrder,
    topic: &str,
    trace: Option<TraceContext>,
) -> Result<OutboxMessage, MessageError> {
    let failed = |cause: String| MessageError::Encode { order_id: order.id.0, cause };
    let occurred_at = OccurredAt::from_datetime(order.completed_at);
    let lines = order.lines.iter().map(|line| {
        Ok(OrderLine {
            product_id: line.product_id.0,
            quantity: i32::try_from(line.quantity).map_err(|error| failed(error.to_string()))?,
            unit_price: line.unit_price.minor_units(),
            line_amount: line.line_amount.minor_units(),
        })
    });
    let event = OrderCompletedMessage {
        occurred_at,
        order_id: order.id.0,
        details: Some(OrderDetails {
            event_id: order.event_id,
            user_id: order.user_id.0,
            lines: lines.collect::<Result<_, MessageError>>()?,
            total_amount: order.total.minor_units(),
            discount_amount: order.discount.minor_units(),
            paid_amount: order.paid().minor_units(),
            coupon_id: order.coupon_id.map(|id| id.0),
        }),
    };
    let json = event.to_json().map_err(|error: EncodeError| failed(error.to_string()))?;
    let headers = EventHeaders {
        event_id: order.event_id,
        event_type: EventType::OrderCompletedV1,
        source: EVENT_SOURCE.to_owned(),
        time: occurred_at,
        subject: order.id.to_string(),
        trace,
    };
    Ok(OutboxMessage {
        topic: topic.to_owned(),
        key: topics::record_key(order.id.0),
        event_id: order.event_id,
        payload: String::from_utf8(json).map_err(|error| failed(error.to_string()))?,
        headers: MessageHeaders::of(headers.to_pairs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{CouponId, OrderId, ProductId, UserId};
    use crate::domain::money::Money;
    use crate::domain::order::OrderLine as SoldLine;

    #[test]
    fn no_event_is_larger_than_its_bound() {
        let most = Money::from_minor_units(i64::MAX).unwrap();
        let line = SoldLine {
            product_id: ProductId(i64::MAX),
            quantity: 1_000_000,
            unit_price: most,
            line_amount: most,
        };
        let state = format!("a={}", "x".repeat(500));
        let trace = TraceContext::from_received(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            Some(&state),
        );
        for lines in [1, 50, 5_000] {
            let order = CompletedOrder {
                id: OrderId(i64::MAX),
                user_id: UserId(i64::MAX),
                lines: vec![line; lines],
                coupon_id: Some(CouponId(i64::MAX)),
                total: most,
                discount: most,
                completed_at: chrono::DateTime::UNIX_EPOCH,
                event_id: Uuid::max(),
            };
            let message = order_completed(&order, "order-completed", trace.clone()).unwrap();
            let headers = message.headers.fold(0, |bytes, name, value| bytes + name.len() + value.len());
            let bytes = message.payload.len() + message.key.len() + headers;
            assert!(bytes + 200 <= largest_event(lines), "{lines} lines: {bytes}");
        }
    }
}
