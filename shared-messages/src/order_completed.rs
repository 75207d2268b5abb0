//! # The body of the event `order-completed`
//!
//! One flat JSON object in camelCase. `{occurredAt, orderId}` is what the original demonstration sends, and
//! all that its Spring consumers read; everything after it is what a data platform needs so that it never
//! has to ask back. Money is an integer of minor units.
//!
//! The details are there as a whole or not at all. A record with a part of them is an error that names the
//! missing field, because a platform that stores half an order has lost the other half. Unknown fields are
//! tolerated, so that fields can be added.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::OccurredAt;

/// An order was completed: its stock is taken, its coupon used, its rows committed.
///
/// Displayed as the demonstration's consumer prints it:
/// `OrderCompletedMessage(occurredAt=2025-05-29T01:43:46.137371700, orderId=15)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderCompletedMessage {
    /// When the order was completed.
    pub occurred_at: OccurredAt,
    /// The order; its text is the record's key.
    pub order_id: i64,
    /// Absent only in a record of the original demonstration.
    #[serde(flatten)]
    pub details: Option<OrderDetails>,
}

/// What version 1 carries beyond `{occurredAt, orderId}`: all of it or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderDetails {
    /// The same for every delivery of this event: the receiver's idempotency key.
    pub event_id: Uuid,
    /// The buyer.
    pub user_id: i64,
    /// What was bought.
    pub lines: Vec<OrderLine>,
    /// Sum of the lines, in minor units.
    pub total_amount: i64,
    /// What the coupon took off, in minor units.
    pub discount_amount: i64,
    /// What was paid, in minor units.
    pub paid_amount: i64,
    /// The coupon that was used, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coupon_id: Option<i64>,
}

/// One product of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderLine {
    /// The product.
    pub product_id: i64,
    /// How many of it.
    pub quantity: i32,
    /// Price of one, in minor units, when it was bought.
    pub unit_price: i64,
    /// Price of all of them, in minor units.
    pub line_amount: i64,
}

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
#[error("an order-completed message cannot be written as JSON: {0}")]
pub struct EncodeError(#[source] serde_json::Error);

/// Why bytes are not an order-completed message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No JSON, or JSON of another shape.
    #[error("not an order-completed message: {0}")]
    Malformed(String),
    /// Some of the details are there, this one is not.
    #[error("the order's details are incomplete: `{0}` is missing")]
    MissingDetail(&'static str),
}

impl OrderCompletedMessage {
    /// The value of the record: UTF-8 JSON. Fails only for a time outside of the years 0 to 9999.
    pub fn to_json(&self) -> Result<Vec<u8>, EncodeError> {
        serde_json::to_vec(self).map_err(EncodeError)
    }

    /// Reads the value of a record of version 1, or of the original demonstration.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DecodeError> {
        let received: ReceivedMessage =
            serde_json::from_slice(bytes).map_err(|error| DecodeError::Malformed(brief(&error)))?;
        received.try_into()
    }
}

impl fmt::Display for OrderCompletedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let occurred_at = self.occurred_at.as_local_date_time();
        write!(f, "OrderCompletedMessage(occurredAt={occurred_at}, orderId={})", self.order_id)
    }
}

/// The parser quotes what it found, which can be as long as the record: a log must not carry that.
fn brief(error: &serde_json::Error) -> String {
    const LONGEST: usize = 200;
    let text = error.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => {
            format!("{}… at line {} column {}", &text[..end], error.line(), error.column())
        }
        None => text,
    }
}

/// As it comes off the wire. A flattened `Option` would take a malformed detail for an absent one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceivedMessage {
    occurred_at: OccurredAt,
    order_id: i64,
    event_id: Option<Uuid>,
    user_id: Option<i64>,
    lines: Option<Vec<OrderLine>>,
    total_amount: Option<i64>,
    discount_amount: Option<i64>,
    paid_amount: Option<i64>,
    coupon_id: Option<i64>,
}

impl ReceivedMessage {
    fn has_no_details(&self) -> bool {
        self.event_id.is_none()
            && self.user_id.is_none()
            && self.lines.is_none()
            && self.total_amount.is_none()
            && self.discount_amount.is_none()
            && self.paid_amount.is_none()
            && self.coupon_id.is_none()
    }
}

impl TryFrom<ReceivedMessage> for OrderCompletedMessage {
    type Error = DecodeError;

    fn try_from(received: ReceivedMessage) -> Result<Self, DecodeError> {
        let (occurred_at, order_id) = (received.occurred_at, received.order_id);
        if received.has_no_details() {
            return Ok(Self { occurred_at, order_id, details: None });
        }
        let missing = DecodeError::MissingDetail;
        let details = OrderDetails {
            event_id: received.event_id.ok_or(missing("eventId"))?,
            user_id: received.user_id.ok_or(missing("userId"))?,
            lines: received.lines.ok_or(missing("lines"))?,
            total_amount: received.total_amount.ok_or(missing("totalAmount"))?,
            discount_amount: received.discount_amount.ok_or(missing("discountAmount"))?,
            paid_amount: received.paid_amount.ok_or(missing("paidAmount"))?,
            coupon_id: received.coupon_id,
        };
        Ok(Self { occurred_at, order_id, details: Some(details) })
    }
}

#[cfg(test)]
#[path = "order_completed_tests.rs"]
mod tests;
