//! # Stock rows

use super::error::DatabaseError;
use super::schema::stock;
use super::{Session, prepared_once};
use crate::domain::ids::ProductId;
use crate::domain::money::{Money, MoneyError};
use crate::domain::stock::StockItem;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt};
use diesel_async::RunQueryDsl;

/// Locks these rows in the order of their ids until the transaction ends. Unknown products have no row.
///
/// `NO KEY UPDATE`: a plain `FOR UPDATE` would block the foreign-key checks of everyone who refers to the row.
pub async fn lock(
    mut session: &Session,
    product_ids: &[i64],
) -> Result<Vec<(ProductId, StockItem)>, DatabaseError> {
    let rows: Vec<(i64, i64, i64)> = stock::table
        .select((stock::product_id, stock::price, stock::on_hand))
        .filter(stock::product_id.eq_any(product_ids))
        .order(stock::product_id)
        .for_no_key_update()
        .load(&mut session)
        .await?;
    rows.into_iter()
        .map(|(id, price, on_hand)| Ok((ProductId(id), StockItem { price: stored_amount(price)?, on_hand })))
        .collect()
}

/// Writes what is left of each product.
pub async fn write_remaining(
    mut session: &Session,
    product_ids: &[i64],
    on_hand: &[i64],
) -> Result<(), DatabaseError> {
    WriteRemaining { product_ids, on_hand }.execute(&mut session).await?;
    Ok(())
}

/// Adds pieces to one product; what is on hand then. `None`: there is no such product, or there would be more
/// pieces than a number holds, and nothing was changed.
pub async fn restock(
    session: &mut Session,
    product_id: ProductId,
    quantity: i64,
) -> Result<Option<i64>, DatabaseError> {
    let fits = stock::on_hand.le(i64::MAX - quantity);
    diesel::update(stock::table.find(product_id.0).filter(fits))
        .set(stock::on_hand.eq(stock::on_hand + quantity))
        .returning(stock::on_hand)
        .get_result(session)
        .await
        .optional()
        .map_err(DatabaseError::of_change)
}

struct WriteRemaining<'a> {
    product_ids: &'a [i64],
    on_hand: &'a [i64],
}

prepared_once!(WriteRemaining<'_>);

impl QueryFragment<diesel::pg::Pg> for WriteRemaining<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("UPDATE stock SET on_hand = r.on_hand FROM unnest(");
        out.push_bind_param::<Array<BigInt>, _>(&self.product_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.on_hand)?;
        // Said twice, so that no join reads more of the table than these rows, whatever it was planned with.
        out.push_sql(
            ") AS r (product_id, on_hand) WHERE stock.product_id = r.product_id AND stock.product_id = ANY(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.product_ids)?;
        out.push_sql(")");
        Ok(())
    }
}

/// An amount from a column whose CHECK keeps it from being negative.
pub(super) fn stored_amount(minor_units: i64) -> Result<Money, DatabaseError> {
    Money::from_minor_units(minor_units)
        .map_err(|error: MoneyError| DatabaseError::Refused(format!("a stored amount: {error}")))
}
