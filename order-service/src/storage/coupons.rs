//! # Coupon rows

use super::error::DatabaseError;
use super::schema::coupon;
use super::stock::stored_amount;
use super::{Session, prepared_once};
use crate::domain::coupon::Coupon;
use crate::domain::discount::{Discount, Percent};
use crate::domain::ids::{CouponId, OrderId, UserId};
use crate::domain::money::Money;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt};
use diesel_async::RunQueryDsl;

#[derive(Clone, Copy, Queryable, Selectable)]
#[diesel(table_name = coupon, check_for_backend(diesel::pg::Pg))]
struct Row {
    id: i64,
    user_id: i64,
    discount_amount: Option<i64>,
    discount_percent: Option<i32>,
    max_discount_amount: Option<i64>,
    expires_at: Option<DateTime<Utc>>,
    used_by_order_id: Option<i64>,
}

fn from_row(row: Row) -> Result<Coupon, DatabaseError> {
    Ok(Coupon {
        id: CouponId(row.id),
        user_id: UserId(row.user_id),
        discount: stored_discount(&row)?,
        expires_at: row.expires_at,
        used_by: row.used_by_order_id.map(OrderId),
    })
}

/// The table's checks allow exactly these two forms.
fn stored_discount(row: &Row) -> Result<Discount, DatabaseError> {
    match (row.discount_amount, row.discount_percent.and_then(Percent::new)) {
        (Some(amount), None) => Ok(Discount::Fixed(stored_amount(amount)?)),
        (None, Some(percent)) => {
            let cap = row.max_discount_amount.map(stored_amount).transpose()?;
            Ok(Discount::Percentage { percent, cap })
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(DatabaseError::Refused(format!("coupon {} has no discount that can be read", row.id)))
        }
    }
}

/// Locks these rows in the order of their ids until the transaction ends.
pub async fn lock(mut session: &Session, coupon_ids: &[i64]) -> Result<Vec<Coupon>, DatabaseError> {
    let rows: Vec<Row> = coupon::table
        .select(Row::as_select())
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
    discount: Discount,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Coupon, DatabaseError> {
    let (amount, percent, cap) = match discount {
        Discount::Fixed(amount) => (Some(amount), None, None),
        Discount::Percentage { percent, cap } => (None, Some(i32::from(percent.get())), cap),
    };
    let row: Row = diesel::insert_into(coupon::table)
        .values((
            coupon::user_id.eq(user_id.0),
            coupon::discount_amount.eq(amount.map(Money::minor_units)),
            coupon::discount_percent.eq(percent),
            coupon::max_discount_amount.eq(cap.map(Money::minor_units)),
            coupon::expires_at.eq(expires_at),
        ))
        .returning(Row::as_returning())
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
        .select(Row::as_select())
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
        // Said twice, so that no join reads more of the table than these rows, whatever it was planned with.
        out.push_sql(") AS u (coupon_id, order_id) WHERE coupon.id = u.coupon_id AND coupon.id = ANY(");
        out.push_bind_param::<Array<BigInt>, _>(&self.coupon_ids)?;
        out.push_sql(")");
        Ok(())
    }
}
