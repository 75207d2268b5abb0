//! # Coupon rows

use super::error::DatabaseError;
use super::schema::coupon;
use super::stock::stored_amount;
use super::{Session, prepared_once};
use crate::domain::coupon::Coupon;
use crate::domain::ids::{CouponId, OrderId, UserId};
use crate::domain::money::Money;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt};
use diesel_async::RunQueryDsl;

type Row = (i64, i64, i64, Option<DateTime<Utc>>, Option<i64>);
type Columns =
    (coupon::id, coupon::user_id, coupon::discount_amount, coupon::expires_at, coupon::used_by_order_id);
const COLUMNS: Columns =
    (coupon::id, coupon::user_id, coupon::discount_amount, coupon::expires_at, coupon::used_by_order_id);

fn from_row((id, user_id, discount, expires_at, used_by): Row) -> Result<Coupon, DatabaseError> {
    Ok(Coupon {
        id: CouponId(id),
        user_id: UserId(user_id),
        discount: stored_amount(discount)?,
        expires_at,
        used_by: used_by.map(OrderId),
    })
}

/// Locks these rows in the order of their ids until the transaction ends.
pub async fn lock(mut session: &Session, coupon_ids: &[i64]) -> Result<Vec<Coupon>, DatabaseError> {
    let rows: Vec<Row> = coupon::table
        .select(COLUMNS)
        .filter(coupon::id.eq_any(coupon_ids))
        .order(coupon::id)
        .for_no_key_update()
        .load(&mut session)
        .await?;
    rows.into_iter().map(from_row).collect()
}

/// Writes which order used which coupon.
pub async fn mark_used(
    mut session: &Session,
    coupon_ids: &[i64],
    order_ids: &[i64],
) -> Result<(), DatabaseError> {
    MarkUsed { coupon_ids, order_ids }.execute(&mut session).await?;
    Ok(())
}

/// Issues a coupon.
pub async fn issue(
    session: &mut Session,
    user_id: UserId,
    discount: Money,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Coupon, DatabaseError> {
    let row: Row = diesel::insert_into(coupon::table)
        .values((
            coupon::user_id.eq(user_id.0),
            coupon::discount_amount.eq(discount.minor_units()),
            coupon::expires_at.eq(expires_at),
        ))
        .returning(COLUMNS)
        .get_result(session)
        .await
        .map_err(DatabaseError::of_change)?;
    from_row(row)
}

/// A user's coupons behind `after`, oldest first, at most `limit`.
pub async fn by_user(
    session: &mut Session,
    user_id: UserId,
    after: i64,
    limit: i64,
) -> Result<Vec<Coupon>, DatabaseError> {
    let rows: Vec<Row> = coupon::table
        .select(COLUMNS)
        .filter(coupon::user_id.eq(user_id.0).and(coupon::id.gt(after)))
        .order(coupon::id)
        .limit(limit)
        .load(session)
        .await?;
    rows.into_iter().map(from_row).collect()
}

struct MarkUsed<'a> {
    coupon_ids: &'a [i64],
    order_ids: &'a [i64],
}

prepared_once!(MarkUsed<'_>);

impl QueryFragment<diesel::pg::Pg> for MarkUsed<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("UPDATE coupon SET used_by_order_id = u.order_id FROM unnest(");
        out.push_bind_param::<Array<BigInt>, _>(&self.coupon_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.order_ids)?;
        out.push_sql(") AS u (coupon_id, order_id) WHERE coupon.id = u.coupon_id");
        Ok(())
    }
}
