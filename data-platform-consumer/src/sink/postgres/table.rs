//! # The table
//!
//! One row for each event. The name is fixed; the schema is the first of the session's `search_path`, which the URL can
//! set (`?options=-csearch_path%3Dorders`). Columns may be added by whoever owns the table, if they have a default.

use std::collections::HashMap;
use std::time::SystemTime;

use tokio_postgres::types::ToSql;

use crate::delivery::{Event, Record};
use crate::sink::DeliveryFailure;
use std::sync::Arc;

/// Its name.
pub const TABLE: &str = "order_completed_events";

/// Creates what is not there. One lock, as two who create the same at once would fail; it ends with these statements, which are
/// one transaction.
pub(super) const CREATE: &str = "\
SELECT pg_advisory_xact_lock(hashtext('data-platform-consumer sink prepare'));
CREATE TABLE IF NOT EXISTS order_completed_events (
    idempotency_key   text        PRIMARY KEY,
    event_id          uuid,
    order_id          bigint      NOT NULL,
    occurred_at       timestamptz NOT NULL,
    user_id           bigint,
    total_amount      bigint,
    discount_amount   bigint,
    paid_amount       bigint,
    coupon_id         bigint,
    body              json        NOT NULL,
    topic             text        NOT NULL,
    record_partition  integer     NOT NULL,
    record_offset     bigint      NOT NULL,
    deliveries        bigint      NOT NULL DEFAULT 1,
    received_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_received_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE order_completed_events IS
    'One row for each event of data-platform-consumer; deliveries counts how often it came';
CREATE INDEX IF NOT EXISTS order_completed_events_occurred_at
    ON order_completed_events USING brin (occurred_at);";

/// Writes any number of rows. In the order of their keys, so that two batches never wait for each other in turn. A row that
/// stands under its key already is a repeat if it is about the same order; another event's is left as it is, and the number
/// of rows tells.
pub(super) const WRITE: &str = "\
INSERT INTO order_completed_events AS stored
    (idempotency_key, event_id, order_id, occurred_at, user_id, total_amount, discount_amount, paid_amount, coupon_id,
     body, topic, record_partition, record_offset, deliveries)
SELECT idempotency_key, event_id::uuid, order_id, occurred_at, user_id, total_amount, discount_amount, paid_amount, coupon_id,
       body::json, topic, record_partition, record_offset, deliveries
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::bigint[], $10::text[], $11::text[], $12::integer[], $13::bigint[], $14::bigint[])
    AS came (idempotency_key, event_id, order_id, occurred_at, user_id, total_amount, discount_amount, paid_amount,
             coupon_id, body, topic, record_partition, record_offset, deliveries)
ORDER BY idempotency_key
ON CONFLICT (idempotency_key) DO UPDATE
SET deliveries = stored.deliveries + excluded.deliveries, last_received_at = clock_timestamp()
WHERE (stored.order_id, stored.occurred_at) = (excluded.order_id, excluded.occurred_at)";

/// Whether there is a row under this key.
pub(super) const LOOK: &str = "SELECT 1 FROM order_completed_events WHERE idempotency_key = $1";

/// What is written of one event.
#[derive(Debug)]
pub(super) struct Row {
    record: Arc<Record>,
    key: String,
    event_id: Option<String>,
    order_id: i64,
    occurred_at: SystemTime,
    amounts: Option<Amounts>,
    coupon_id: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Amounts {
    user_id: i64,
    total: i64,
    discount: i64,
    paid: i64,
}

impl Row {
    /// Fails for a body that is no text, which JSON always is: a field that nobody here reads may hold anything.
    pub(super) fn of(event: &Event) -> Result<Self, DeliveryFailure> {
        let body = event.record.value().unwrap_or_default();
        std::str::from_utf8(body)
            .map_err(|error| DeliveryFailure::unfit(format!("its body is not UTF-8: {error}")))?;
        let details = event.message.details.as_ref();
        Ok(Self {
            record: Arc::clone(&event.record),
            key: event.idempotency_key(),
            event_id: event.event_id.map(|id| id.to_string()),
            order_id: event.message.order_id,
            occurred_at: event.message.occurred_at.as_datetime().into(),
            amounts: details.map(|details| Amounts {
                user_id: details.user_id,
                total: details.total_amount,
                discount: details.discount_amount,
                paid: details.paid_amount,
            }),
            coupon_id: details.and_then(|details| details.coupon_id),
        })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    fn body(&self) -> &str {
        // Seen to be text when the row was made.
        self.record.value().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }
}

/// The arrays of a statement, each key once: PostgreSQL refuses to write a row twice by one statement.
#[derive(Default)]
pub(super) struct Columns<'a> {
    keys: Vec<&'a str>,
    event_ids: Vec<Option<&'a str>>,
    order_ids: Vec<i64>,
    occurred_at: Vec<SystemTime>,
    user_ids: Vec<Option<i64>>,
    totals: Vec<Option<i64>>,
    discounts: Vec<Option<i64>>,
    paid: Vec<Option<i64>>,
    coupon_ids: Vec<Option<i64>>,
    bodies: Vec<&'a str>,
    topics: Vec<&'a str>,
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    deliveries: Vec<i64>,
    /// Rows of another event under a key that is there already: they cannot be written by the same statement.
    left_out: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn of(rows: &'a [Row]) -> Self {
        let (mut columns, mut places) = (Self::default(), HashMap::with_capacity(rows.len()));
        for row in rows {
            let place = *places.entry(row.key()).or_insert(columns.keys.len());
            match columns.event_at(place) {
                None => columns.push(row),
                Some(event) if event == (row.order_id, row.occurred_at) => {
                    columns.deliveries.iter_mut().skip(place).take(1).for_each(|deliveries| *deliveries += 1);
                }
                Some(_) => columns.left_out += 1,
            }
        }
        columns
    }

    fn event_at(&self, place: usize) -> Option<(i64, SystemTime)> {
        Some((*self.order_ids.get(place)?, *self.occurred_at.get(place)?))
    }

    /// How many rows the statement must say that it has written, or not all is there.
    pub(super) fn rows_to_write(&self) -> usize {
        self.keys.len() + self.left_out
    }

    fn push(&mut self, row: &'a Row) {
        let position = row.record.position();
        self.keys.push(&row.key);
        self.event_ids.push(row.event_id.as_deref());
        self.order_ids.push(row.order_id);
        self.occurred_at.push(row.occurred_at);
        self.user_ids.push(row.amounts.map(|amounts| amounts.user_id));
        self.totals.push(row.amounts.map(|amounts| amounts.total));
        self.discounts.push(row.amounts.map(|amounts| amounts.discount));
        self.paid.push(row.amounts.map(|amounts| amounts.paid));
        self.coupon_ids.push(row.coupon_id);
        self.bodies.push(row.body());
        self.topics.push(&position.topic);
        self.partitions.push(position.partition);
        self.offsets.push(position.offset);
        self.deliveries.push(1);
    }

    /// In the order of the statement's numbers.
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 14] {
        [
            &self.keys,
            &self.event_ids,
            &self.order_ids,
            &self.occurred_at,
            &self.user_ids,
            &self.totals,
            &self.discounts,
            &self.paid,
            &self.coupon_ids,
            &self.bodies,
            &self.topics,
            &self.partitions,
            &self.offsets,
            &self.deliveries,
        ]
    }
}
