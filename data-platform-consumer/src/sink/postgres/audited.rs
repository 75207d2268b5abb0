//! # Rows for the audit

use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::failure;
use super::session;
use super::settings::PostgresSinkSettings;
use crate::audit::comparison::{AuditedRow, Place, Window};
use crate::sink::{DeliveryFailure, SinkRefused};

/// How long reading all of the rows may take.
const LONGEST_READ: Duration = Duration::from_mins(10);

const READ: &str = "\
SELECT idempotency_key, order_id, topic, record_partition, record_offset, deliveries
FROM order_completed_events WHERE occurred_at >= $1 AND occurred_at < $2";

/// Why the rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditedRowsError {
    /// The URL cannot be used.
    #[error(transparent)]
    Settings(#[from] SinkRefused),
    /// The database is away, or does not let us.
    #[error("the table of the sink postgres cannot be read: {0}")]
    Database(DeliveryFailure),
}

/// Tells each row of the window, in no order.
pub async fn audited_rows(
    settings: &PostgresSinkSettings,
    window: Window,
    mut tell: impl FnMut(AuditedRow),
) -> Result<(), AuditedRowsError> {
    let mut config = session::config(settings)?;
    let options = config.get_options().unwrap_or_default();
    let limit = LONGEST_READ.as_millis();
    let options = format!("{options} -c default_transaction_read_only=on -c statement_timeout={limit}");
    config.options(options);
    let reading = async {
        let (client, _driver) = session::connect_within(&config, settings.connect_timeout).await?;
        let bounds: [SystemTime; 2] = [window.from.as_datetime().into(), window.to.as_datetime().into()];
        let bounds = bounds.iter().map(|bound| bound as &(dyn ToSql + Sync));
        let read = async {
            let mut rows = pin!(client.query_raw(READ, bounds).await?);
            while let Some(row) = rows.next().await {
                tell(audited(&row?)?);
            }
            Ok(())
        };
        let outcome: Result<(), Error> = read.await;
        outcome.map_err(|error| failure::of(&error).into_failure())
    };
    let silent = || Err(DeliveryFailure::unavailable(format!("no answer within {LONGEST_READ:?}")));
    timeout(LONGEST_READ, reading).await.unwrap_or_else(|_| silent()).map_err(AuditedRowsError::Database)
}

fn audited(row: &Row) -> Result<AuditedRow, Error> {
    Ok(AuditedRow {
        key: row.try_get(0)?,
        order_id: row.try_get(1)?,
        topic: row.try_get(2)?,
        place: Place { partition: row.try_get(3)?, offset: row.try_get(4)? },
        deliveries: row.try_get(5)?,
    })
}
