//! # Ledger
//!
//! What the database committed: the one truth that arrivals are compared with.

use std::collections::HashSet;

use chrono::DateTime;
use shared_messages::{OccurredAt, OrderCompletedMessage};
use tokio_postgres::{Client, NoTls};

/// Why the database cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It is away, or has other tables.
    #[error("cannot read the orders from the database: {0}")]
    Database(#[from] tokio_postgres::Error),
    /// Not a point in time that PostgreSQL could have made.
    #[error("order {0} has a time that does not exist")]
    Time(i64),
}

/// A view on the orders of this run.
pub struct Ledger {
    client: Client,
    after: i64,
}

impl Ledger {
    /// Counts from now on: orders that are there already are not of this run.
    pub async fn open(database_url: &str) -> Result<Self, LedgerError> {
        let (client, connection) = tokio_postgres::connect(database_url, NoTls).await?;
        tokio::spawn(connection);
        let last = client.query_one("SELECT coalesce(max(id), 0)::bigint FROM orders", &[]).await?;
        Ok(Self { client, after: last.try_get(0)? })
    }

    /// The ids of the orders.
    pub async fn order_ids(&self) -> Result<HashSet<i64>, LedgerError> {
        let rows = self.client.query("SELECT id FROM orders WHERE id > $1", &[&self.after]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// The events that must arrive, each as a consumer shows it.
    pub async fn committed(&self) -> Result<HashSet<String>, LedgerError> {
        let rows = self
            .client
            .query(
                "SELECT id, (extract(epoch FROM completed_at) * 1000000)::bigint FROM orders WHERE id > $1",
                &[&self.after],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let (order_id, micros): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
                let time = DateTime::from_timestamp_micros(micros).ok_or(LedgerError::Time(order_id))?;
                let occurred_at = OccurredAt::from_datetime(time);
                Ok(OrderCompletedMessage { occurred_at, order_id, details: None }.to_string())
            })
            .collect()
    }
}
