//! # What an audit reads
//!
//! Rows that are many and looked at one by one: they are streamed, never held. Each is one statement, and so one
//! snapshot, which keeps dead rows alive for as long as it is read: some twenty seconds for a million orders, most of it for their lines.

use super::Session;
use super::error::DatabaseError;
use super::schema::{orders, outbox, outbox_quarantine};
use crate::audit::comparison::{Orders, Waits, Window};
use crate::audit::content::{Content, StoredOrder};
use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool};
use diesel_async::RunQueryDsl;
use futures_util::TryStreamExt;
use std::collections::HashMap;
use uuid::Uuid;

type Row = (i64, Uuid, DateTime<Utc>, i64, Option<i64>, i64, i64, Vec<i64>);

/// Product, quantity and unit price of each line, one behind the other.
const LINES: &str = "ARRAY(SELECT field FROM order_line, \
     unnest(ARRAY[product_id, quantity::bigint, unit_price]) WITH ORDINALITY AS fields (field, place) \
     WHERE order_id = orders.id ORDER BY line_number, place)";

/// The orders that were completed within this time. (`orders_completed_at` finds them.)
pub async fn completed_within(session: &mut Session, window: Window) -> Result<Orders, DatabaseError> {
    let query = orders::table
        .select((
            orders::id,
            orders::event_id,
            orders::completed_at,
            orders::user_id,
            orders::coupon_id,
            orders::total_amount,
            orders::discount_amount,
            sql::<Array<BigInt>>(LINES),
        ))
        .filter(orders::completed_at.ge(window.from))
        .filter(orders::completed_at.lt(window.to));
    let mut rows = query.load_stream::<Row>(session).await?;
    let mut completed = Orders::default();
    while let Some((id, event_id, completed_at, user_id, coupon_id, total_amount, discount_amount, lines)) =
        rows.try_next().await?
    {
        let order = StoredOrder { completed_at, user_id, coupon_id, total_amount, discount_amount, lines };
        completed.push(id, event_id, completed_at, Content::of_order(&order));
    }
    Ok(completed)
}

/// Tells every row that waits: the order that its key names, its event, and where it waits. A row goes from one of the
/// tables to the other in one transaction, so it is seen in one of them: both are read by one statement.
pub async fn waiting(
    session: &mut Session,
    mut tell: impl FnMut(i64, Uuid, Waits),
) -> Result<(), DatabaseError> {
    let pending = outbox::table.select((outbox::key, outbox::event_id, sql::<Bool>("false")));
    let quarantine = outbox_quarantine::table;
    let quarantined =
        quarantine.select((outbox_quarantine::key, outbox_quarantine::event_id, sql::<Bool>("true")));
    let both = pending.union_all(quarantined);
    let mut rows = both.load_stream::<(String, Uuid, bool)>(session).await?;
    while let Some((key, event_id, quarantined)) = rows.try_next().await? {
        // A key that is no number is of no order.
        if let Ok(order_id) = key.parse() {
            tell(order_id, event_id, if quarantined { Waits::Quarantined } else { Waits::Pending });
        }
    }
    Ok(())
}

/// The event ids of those of these orders that there are.
pub async fn event_ids(session: &mut Session, ids: &[i64]) -> Result<HashMap<i64, Uuid>, DatabaseError> {
    let rows: Vec<(i64, Uuid)> = orders::table
        .select((orders::id, orders::event_id))
        .filter(orders::id.eq_any(ids))
        .load(session)
        .await?;
    Ok(rows.into_iter().collect())
}
