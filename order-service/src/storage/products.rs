//! # Product rows, with their stock

use super::Session;
use super::database::Database;
use super::error::DatabaseError;
use super::schema::{product, stock};
use super::stock::stored_amount;
use super::transaction_completion::{Outcome, RollbackCause, in_transaction, no_answer};
use crate::domain::ids::ProductId;
use crate::domain::money::Money;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use futures_util::FutureExt;
use tokio::time::timeout;

/// A product as the shop shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its id.
    pub id: ProductId,
    /// Its name.
    pub name: String,
    /// The price of one piece.
    pub price: Money,
    /// Pieces on hand when it was read.
    pub stock: i64,
}

type Row = (i64, String, i64, i64);

fn from_row((id, name, price, stock): Row) -> Result<Product, DatabaseError> {
    Ok(Product { id: ProductId(id), name, price: stored_amount(price)?, stock })
}

/// Creates a product and its stock row, both or none.
pub async fn create(
    database: &Database,
    name: String,
    price: Money,
    on_hand: i64,
) -> Result<Product, DatabaseError> {
    let created = in_transaction(database, move |transaction| {
        async move {
            let (session, limit) = transaction.session_and_limit();
            let inserted = timeout(limit, insert(session, name, price, on_hand)).await;
            inserted.unwrap_or_else(|_| Err(no_answer(limit)))
        }
        .boxed()
    });
    match created.await {
        Outcome::Committed(product) => Ok(product),
        Outcome::RolledBack(RollbackCause::Work(error) | RollbackCause::Database(error)) => Err(error),
        Outcome::Unknown(error) => Err(DatabaseError::OutcomeUnknown(error.to_string())),
        Outcome::RolledBack(
            cause @ (RollbackCause::Panicked | RollbackCause::Nested | RollbackCause::Unbalanced),
        ) => Err(DatabaseError::Refused(format!("the transaction was rolled back: {cause:?}"))),
    }
}

async fn insert(
    session: &mut Session,
    name: String,
    price: Money,
    on_hand: i64,
) -> Result<Product, DatabaseError> {
    let id: i64 = diesel::insert_into(product::table)
        .values(product::name.eq(&name))
        .returning(product::id)
        .get_result(session)
        .await?;
    let stock = (stock::product_id.eq(id), stock::price.eq(price.minor_units()), stock::on_hand.eq(on_hand));
    diesel::insert_into(stock::table).values(stock).execute(session).await?;
    Ok(Product { id: ProductId(id), name, price, stock: on_hand })
}

/// One product.
pub async fn read(session: &mut Session, id: ProductId) -> Result<Option<Product>, DatabaseError> {
    let row: Option<Row> = product::table
        .inner_join(stock::table)
        .select((product::id, product::name, stock::price, stock::on_hand))
        .filter(product::id.eq(id.0))
        .first(session)
        .await
        .optional()?;
    row.map(from_row).transpose()
}

/// The products behind `after`, by id, at most `limit`.
pub async fn list(session: &mut Session, after: i64, limit: i64) -> Result<Vec<Product>, DatabaseError> {
    let rows: Vec<Row> = product::table
        .inner_join(stock::table)
        .select((product::id, product::name, stock::price, stock::on_hand))
        .filter(product::id.gt(after))
        .order(product::id)
        .limit(limit)
        .load(session)
        .await?;
    rows.into_iter().map(from_row).collect()
}
