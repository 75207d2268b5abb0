//! # Content
//!
//! What an order says, and what an event says of it, as one number each: they are the same, or the event differs from its order. Eight
//! bytes, as there are many orders; the numbers mean nothing outside of this process.
//!
//! An event that says less than an order knows (`{occurredAt, orderId}`, as the original demonstration sends it) differs, too: readers
//! must not have to ask back.

use chrono::{DateTime, Utc};
use shared_messages::OrderCompletedMessage;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(u64);

/// An order as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    /// When it was completed.
    pub completed_at: DateTime<Utc>,
    /// Who has bought.
    pub user_id: i64,
    /// What he has used.
    pub coupon_id: Option<i64>,
    /// What the lines cost.
    pub total_amount: i64,
    /// What was taken off.
    pub discount_amount: i64,
    /// Product, quantity and unit price of each line, one behind the other.
    pub lines: Vec<i64>,
}

type Line = [i64; 4];

fn digest(
    moment: DateTime<Utc>,
    user: i64,
    coupon: Option<i64>,
    amounts: [i64; 3],
    lines: &[Line],
) -> Content {
    let mut hasher = DefaultHasher::new();
    (moment.timestamp_micros(), user, coupon, amounts, lines).hash(&mut hasher);
    Content(hasher.finish())
}

impl Content {
    /// Of an order.
    pub fn of_order(order: &StoredOrder) -> Self {
        let StoredOrder { completed_at, user_id, coupon_id, total_amount, discount_amount, .. } = order;
        let amounts = [*total_amount, *discount_amount, total_amount.wrapping_sub(*discount_amount)];
        let (lines, _) = order.lines.as_chunks::<3>();
        let lines: Vec<Line> = lines
            .iter()
            .map(|[product, quantity, price]| [*product, *quantity, *price, quantity.wrapping_mul(*price)])
            .collect();
        digest(*completed_at, *user_id, *coupon_id, amounts, &lines)
    }

    /// Of an event; none, if it says less than an order knows.
    pub fn of_event(event: &OrderCompletedMessage) -> Option<Self> {
        let details = event.details.as_ref()?;
        let amounts = [details.total_amount, details.discount_amount, details.paid_amount];
        let lines: Vec<Line> = details
            .lines
            .iter()
            .map(|line| [line.product_id, i64::from(line.quantity), line.unit_price, line.line_amount])
            .collect();
        let moment = event.occurred_at.as_datetime();
        Some(digest(moment, details.user_id, details.coupon_id, amounts, &lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = include_str!("../../../shared-messages/golden/order-completed.v1.json");

    fn event(json: &str) -> OrderCompletedMessage {
        OrderCompletedMessage::from_json(json.as_bytes()).unwrap()
    }

    /// The order that the golden event tells of.
    fn order() -> StoredOrder {
        let event = event(EVENT);
        let details = event.details.unwrap();
        let lines = details.lines.iter();
        StoredOrder {
            completed_at: event.occurred_at.as_datetime(),
            user_id: details.user_id,
            coupon_id: details.coupon_id,
            total_amount: details.total_amount,
            discount_amount: details.discount_amount,
            lines: lines
                .flat_map(|line| [line.product_id, i64::from(line.quantity), line.unit_price])
                .collect(),
        }
    }

    #[test]
    fn an_event_says_what_its_order_says() {
        assert_eq!(Content::of_event(&event(EVENT)), Some(Content::of_order(&order())));
        let short = event(r#"{"occurredAt":"2025-05-29T01:43","orderId":15}"#);
        assert_eq!(Content::of_event(&short), None);
    }

    #[test]
    fn every_field_counts() {
        let details = |change: fn(&mut shared_messages::OrderDetails)| {
            let mut event = event(EVENT);
            change(event.details.as_mut().unwrap());
            Content::of_event(&event).unwrap()
        };
        let changed = [
            details(|details| details.user_id += 1),
            details(|details| details.coupon_id = None),
            details(|details| details.total_amount += 1),
            details(|details| details.discount_amount += 1),
            details(|details| details.paid_amount += 1),
            details(|details| details.lines[0].product_id += 1),
            details(|details| details.lines[0].quantity += 1),
            details(|details| details.lines[0].unit_price += 1),
            details(|details| details.lines[0].line_amount += 1),
            details(|details| details.lines.clear()),
        ];
        for (place, content) in changed.into_iter().enumerate() {
            assert_ne!(content, Content::of_order(&order()), "change {place}");
        }
        let mut later = order();
        later.completed_at += chrono::TimeDelta::microseconds(1);
        assert_ne!(Content::of_order(&later), Content::of_order(&order()));
    }
}
