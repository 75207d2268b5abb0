//! # Order rows and their lines

use super::error::DatabaseError;
use super::schema::{order_line, orders};
use super::stock::stored_amount;
use super::{Session, prepared_once};
use crate::domain::ids::{CouponId, OrderId, ProductId, UserId};
use crate::domain::order::{CompletedOrder, OrderLine};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use std::collections::HashMap;
use uuid::Uuid;

/// The constraint by which a repeated request buys once.
pub const REQUEST_KEY_CONSTRAINT: &str = "orders_request_key";

/// What names a request: the buyer and his key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// The buyer.
    pub user_id: UserId,
    /// The key that he sent, or that was made for him.
    pub key: String,
}

/// An order that an earlier request with the same key has completed.
#[derive(Clone, Debug)]
pub struct StoredOrder {
    /// The key it was bought under.
    pub request_key: RequestKey,
    /// A digest of what was asked for then.
    pub fingerprint: Vec<u8>,
    /// The order.
    pub order: CompletedOrder,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders, check_for_backend(diesel::pg::Pg))]
struct OrderRow {
    id: i64,
    user_id: i64,
    request_key: String,
    fingerprint: Vec<u8>,
    event_id: Uuid,
    coupon_id: Option<i64>,
    total_amount: i64,
    discount_amount: i64,
    completed_at: DateTime<Utc>,
}

type LineRow = (i64, i64, i32, i64);

/// The orders that stand under these keys, without their lines (see [`with_lines`]). It must be a statement of its
/// own *after* the stock rows were locked: then a twin that was about to commit is seen.
pub async fn by_request_keys(
    mut session: &Session,
    user_ids: &[i64],
    keys: &[&str],
) -> Result<Vec<StoredOrder>, DatabaseError> {
    let rows: Vec<OrderRow> = ByRequestKeys { user_ids, keys }.load(&mut session).await?;
    rows.into_iter().map(OrderRow::into_stored).collect()
}

/// One order with its lines.
pub async fn read(session: &mut Session, id: OrderId) -> Result<Option<CompletedOrder>, DatabaseError> {
    let row: Option<OrderRow> =
        orders::table.find(id.0).select(OrderRow::as_select()).first(session).await.optional()?;
    let Some(row) = row else { return Ok(None) };
    let stored = with_lines(session, vec![row.into_stored()?]).await?;
    Ok(stored.into_iter().next().map(|stored| stored.order))
}

/// The first orders, at most `limit`, of those with an id from `first` to `last`, with their lines; lowest first.
pub async fn of_range(
    session: &mut Session,
    first: OrderId,
    last: OrderId,
    limit: i64,
) -> Result<Vec<CompletedOrder>, DatabaseError> {
    let rows: Vec<OrderRow> = orders::table
        .select(OrderRow::as_select())
        .filter(orders::id.between(first.0, last.0))
        .order(orders::id)
        .limit(limit)
        .load(session)
        .await?;
    let stored = rows.into_iter().map(OrderRow::into_stored).collect::<Result<_, _>>()?;
    let stored = with_lines(session, stored).await?;
    Ok(stored.into_iter().map(|stored| stored.order).collect())
}

/// How many orders have an id from `first` to `last`.
pub async fn count_of_range(
    session: &mut Session,
    first: OrderId,
    last: OrderId,
) -> Result<u64, DatabaseError> {
    let count: i64 =
        orders::table.filter(orders::id.between(first.0, last.0)).count().get_result(session).await?;
    Ok(count.unsigned_abs())
}

/// Adds the lines.
pub async fn with_lines(
    mut session: &Session,
    mut stored: Vec<StoredOrder>,
) -> Result<Vec<StoredOrder>, DatabaseError> {
    if stored.is_empty() {
        return Ok(stored);
    }
    let ids: Vec<i64> = stored.iter().map(|stored| stored.order.id.0).collect();
    let rows: Vec<LineRow> = order_line::table
        .select((order_line::order_id, order_line::product_id, order_line::quantity, order_line::unit_price))
        .filter(order_line::order_id.eq_any(&ids))
        .order((order_line::order_id, order_line::line_number))
        .load(&mut session)
        .await?;
    let mut lines: HashMap<i64, Vec<OrderLine>> = HashMap::new();
    for row in rows {
        lines.entry(row.0).or_default().push(line_from_row(row)?);
    }
    for stored in &mut stored {
        stored.order.lines = lines.remove(&stored.order.id.0).unwrap_or_default();
    }
    Ok(stored)
}

/// Draws `count` order ids. A refused order leaves a gap.
pub async fn draw_ids(mut session: &Session, count: usize) -> Result<Vec<OrderId>, DatabaseError> {
    let count = i32::try_from(count).map_err(|error| DatabaseError::Refused(error.to_string()))?;
    let ids: Vec<i64> = DrawIds { count }.load(&mut session).await?;
    Ok(ids.into_iter().map(OrderId).collect())
}

/// Writes the orders and their lines.
pub async fn insert(mut session: &Session, new: &NewOrders) -> Result<(), DatabaseError> {
    // Polled together, so both are on the wire before the first is answered.
    let mut second = session;
    let (orders, lines) = ((&new.orders).execute(&mut session), (&new.lines).execute(&mut second));
    futures_util::try_join!(orders, lines)?;
    Ok(())
}

impl OrderRow {
    fn into_stored(self) -> Result<StoredOrder, DatabaseError> {
        let user_id = UserId(self.user_id);
        Ok(StoredOrder {
            request_key: RequestKey { user_id, key: self.request_key },
            fingerprint: self.fingerprint,
            order: CompletedOrder {
                id: OrderId(self.id),
                user_id,
                lines: Vec::new(),
                coupon_id: self.coupon_id.map(CouponId),
                total: stored_amount(self.total_amount)?,
                discount: stored_amount(self.discount_amount)?,
                completed_at: self.completed_at,
                event_id: self.event_id,
            },
        })
    }
}

fn line_from_row((_, product_id, quantity, unit_price): LineRow) -> Result<OrderLine, DatabaseError> {
    let stored = |error: &dyn std::error::Error| DatabaseError::Refused(format!("a stored line: {error}"));
    let quantity = u32::try_from(quantity).map_err(|error| stored(&error))?;
    let unit_price = stored_amount(unit_price)?;
    let line_amount = unit_price.times(quantity).map_err(|error| stored(&error))?;
    Ok(OrderLine { product_id: ProductId(product_id), quantity, unit_price, line_amount })
}

struct ByRequestKeys<'a> {
    user_ids: &'a [i64],
    keys: &'a [&'a str],
}

prepared_once!(ByRequestKeys<'_>);

impl QueryFragment<diesel::pg::Pg> for ByRequestKeys<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        // LATERAL and LIMIT leave one plan, a look into the index for each key: a join could be planned while the table is
        // small, as a scan of it, and a session keeps its plans while the table grows.
        out.push_sql(
            "SELECT o.id, o.user_id, o.request_key, o.fingerprint, o.event_id, o.coupon_id, o.total_amount, \
             o.discount_amount, o.completed_at FROM unnest(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.user_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.keys)?;
        out.push_sql(
            ") AS r (u, k) CROSS JOIN LATERAL (SELECT * FROM orders WHERE user_id = r.u AND request_key = r.k \
             LIMIT 1) AS o",
        );
        Ok(())
    }
}

impl diesel::query_builder::Query for ByRequestKeys<'_> {
    type SqlType = orders::SqlType;
}

#[derive(QueryId)]
struct DrawIds {
    count: i32,
}

impl QueryFragment<diesel::pg::Pg> for DrawIds {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("SELECT nextval('order_id_seq') FROM generate_series(1, ");
        out.push_bind_param::<Integer, _>(&self.count)?;
        out.push_sql(")");
        Ok(())
    }
}

impl diesel::query_builder::Query for DrawIds {
    type SqlType = BigInt;
}

/// Orders to be written, with their lines.
#[derive(Default)]
pub struct NewOrders {
    orders: InsertOrders,
    lines: InsertLines,
}

impl NewOrders {
    /// Adds an order that is bought under this key by a request with this fingerprint.
    ///
    /// # Errors
    /// [`DatabaseError::Refused`]: a quantity that no column holds.
    pub fn push(
        &mut self,
        order: &CompletedOrder,
        request_key: String,
        fingerprint: &[u8],
    ) -> Result<(), DatabaseError> {
        self.lines.push(order)?;
        self.orders.push(order, request_key, fingerprint.to_vec());
        Ok(())
    }
}

/// One text for any number of orders, so that it is prepared once; a column each, in the order of the statement.
#[derive(QueryId, Default)]
struct InsertOrders {
    ids: Vec<i64>,
    user_ids: Vec<i64>,
    request_keys: Vec<String>,
    fingerprints: Vec<Vec<u8>>,
    event_ids: Vec<Uuid>,
    coupon_ids: Vec<Option<i64>>,
    totals: Vec<i64>,
    discounts: Vec<i64>,
    completed_at: Vec<DateTime<Utc>>,
}

impl InsertOrders {
    fn push(&mut self, order: &CompletedOrder, request_key: String, fingerprint: Vec<u8>) {
        self.ids.push(order.id.0);
        self.user_ids.push(order.user_id.0);
        self.request_keys.push(request_key);
        self.fingerprints.push(fingerprint);
        self.event_ids.push(order.event_id);
        self.coupon_ids.push(order.coupon_id.map(|id| id.0));
        self.totals.push(order.total.minor_units());
        self.discounts.push(order.discount.minor_units());
        self.completed_at.push(order.completed_at);
    }
}

impl QueryFragment<diesel::pg::Pg> for InsertOrders {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO orders (id, user_id, request_key, fingerprint, event_id, coupon_id, total_amount, \
             discount_amount, completed_at) SELECT * FROM unnest(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.user_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.request_keys)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.fingerprints)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.event_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.coupon_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.totals)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.discounts)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.completed_at)?;
        out.push_sql(")");
        Ok(())
    }
}

/// The lines of all orders, likewise.
#[derive(QueryId, Default)]
struct InsertLines {
    order_ids: Vec<i64>,
    line_numbers: Vec<i32>,
    product_ids: Vec<i64>,
    quantities: Vec<i32>,
    unit_prices: Vec<i64>,
}

impl InsertLines {
    fn push(&mut self, order: &CompletedOrder) -> Result<(), DatabaseError> {
        for (number, line) in (1..).zip(&order.lines) {
            let quantity = i32::try_from(line.quantity);
            let quantity = quantity.map_err(|error| DatabaseError::Refused(error.to_string()))?;
            self.order_ids.push(order.id.0);
            self.line_numbers.push(number);
            self.product_ids.push(line.product_id.0);
            self.quantities.push(quantity);
            self.unit_prices.push(line.unit_price.minor_units());
        }
        Ok(())
    }
}

impl QueryFragment<diesel::pg::Pg> for InsertLines {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO order_line (order_id, line_number, product_id, quantity, unit_price) \
             SELECT * FROM unnest(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.order_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.line_numbers)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.product_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.quantities)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.unit_prices)?;
        out.push_sql(")");
        Ok(())
    }
}
