//! # Held rows
//!
//! Who holds rows that an order would lock. Looked at without waiting for anybody.

use super::error::DatabaseError;
use super::{Session, prepared_once};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Integer, Text};
use diesel_async::RunQueryDsl;

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldThing {
    /// The stock row of this product.
    Stock(i64),
    /// The row of this product itself, so that no order may refer to it.
    Product(i64),
    /// The row of this coupon.
    Coupon(i64),
}

/// A row that somebody has locked at this moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldRow {
    /// Which.
    pub thing: HeldThing,
    /// The transaction that has it, or the group of them: another one, another text.
    pub holder: String,
}

/// Those of these rows that somebody else has locked, each with its holder.
pub async fn look(
    mut session: &Session,
    product_ids: &[i64],
    coupon_ids: &[i64],
) -> Result<Vec<HeldRow>, DatabaseError> {
    let rows: Vec<(i32, i64, String)> = Look { product_ids, coupon_ids }.load(&mut session).await?;
    let thing = |table, id| match table {
        0 => HeldThing::Stock(id),
        1 => HeldThing::Product(id),
        _ => HeldThing::Coupon(id),
    };
    Ok(rows.into_iter().map(|(table, id, holder)| HeldRow { thing: thing(table, id), holder }).collect())
}

struct Look<'a> {
    product_ids: &'a [i64],
    coupon_ids: &'a [i64],
}

prepared_once!(Look<'_>);

impl QueryFragment<diesel::pg::Pg> for Look<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        // What can be locked is free. Of the rest xmax names the transaction that has it.
        out.push_sql(
            "WITH stocks AS MATERIALIZED (SELECT product_id AS id FROM stock WHERE product_id = ANY(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.product_ids)?;
        out.push_sql(
            ") FOR NO KEY UPDATE SKIP LOCKED), \
             products AS MATERIALIZED (SELECT id FROM product WHERE id = ANY(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.product_ids)?;
        out.push_sql(
            ") FOR KEY SHARE SKIP LOCKED), coupons AS MATERIALIZED (SELECT id FROM coupon WHERE id = ANY(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.coupon_ids)?;
        out.push_sql(
            ") FOR NO KEY UPDATE SKIP LOCKED) \
             SELECT 0, product_id, xmax::text FROM stock \
             WHERE product_id NOT IN (SELECT id FROM stocks) AND product_id = ANY(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.product_ids)?;
        out.push_sql(
            ") UNION ALL SELECT 1, id, xmax::text FROM product \
             WHERE id NOT IN (SELECT id FROM products) AND id = ANY(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.product_ids)?;
        out.push_sql(
            ") UNION ALL SELECT 2, id, xmax::text FROM coupon \
             WHERE id NOT IN (SELECT id FROM coupons) AND id = ANY(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.coupon_ids)?;
        out.push_sql(")");
        Ok(())
    }
}

impl diesel::query_builder::Query for Look<'_> {
    type SqlType = (Integer, BigInt, Text);
}
