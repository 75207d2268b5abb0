//! # Outbox status
//!
//! What an operator asks the database about publishing, in one statement.

use super::Session;
use super::error::DatabaseError;
use super::outbox_size::DISK_BYTES_OF_A_ROW;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Nullable, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

/// How publishing stands.
#[derive(Clone, Debug, QueryableByName, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxStatus {
    /// Events that wait.
    #[diesel(sql_type = BigInt)]
    pub pending: i64,
    /// Bytes of their payloads.
    #[diesel(sql_type = BigInt)]
    pub pending_bytes: i64,
    /// Bytes of the disk that their rows take.
    #[diesel(sql_type = BigInt)]
    pub pending_disk_bytes: i64,
    /// How long the oldest has waited, if one waits.
    #[diesel(sql_type = Nullable<Double>)]
    pub oldest_seconds: Option<f64>,
    /// Bytes of the table and its index, dead rows included.
    #[diesel(sql_type = BigInt)]
    pub table_bytes: i64,
    /// Rows that vacuum has still to remove, by the server's statistics.
    #[diesel(sql_type = BigInt)]
    pub dead_rows: i64,
    /// Which instance publishes, or did last.
    #[diesel(sql_type = Nullable<Text>)]
    pub holder: Option<String>,
    /// How long its lease is still good for; none when it is over.
    #[diesel(sql_type = Nullable<Double>)]
    pub lease_seconds: Option<f64>,
    /// Up to which seq it has nothing to read any more, when it last renewed its lease.
    #[diesel(sql_type = BigInt)]
    pub scan_floor: i64,
    /// The highest seq that was drawn.
    #[diesel(sql_type = BigInt)]
    pub reached: i64,
    /// Rows in quarantine.
    #[diesel(sql_type = BigInt)]
    pub quarantined: i64,
    /// Their keys.
    #[diesel(sql_type = BigInt)]
    pub quarantined_keys: i64,
}

/// One look. Without the row of the lease, which whoever publishes makes anew, nobody publishes.
///
/// # Errors
/// [`DatabaseError`].
pub async fn read(mut session: &Session) -> Result<OutboxStatus, DatabaseError> {
    let status = format!(
        "
    SELECT w.pending, w.pending_bytes, w.pending_disk_bytes, w.oldest_seconds, pg_total_relation_size('outbox') AS table_bytes,
           coalesce(pg_stat_get_dead_tuples('outbox'::regclass), 0) AS dead_rows,
           l.holder_name AS holder,
           CASE WHEN l.until > clock_timestamp() AND isfinite(l.until)
                THEN extract(epoch FROM l.until - clock_timestamp())::float8 END AS lease_seconds,
           coalesce(l.scan_floor, 0) AS scan_floor, s.last_value - (NOT s.is_called)::integer AS reached, q.quarantined, q.quarantined_keys
    FROM outbox_seq_seq AS s LEFT JOIN relay_lease AS l ON true,
         (SELECT count(*) AS pending, coalesce(sum(octet_length(payload)), 0)::bigint AS pending_bytes,
                 coalesce(sum({DISK_BYTES_OF_A_ROW}), 0)::bigint AS pending_disk_bytes,
                 extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS oldest_seconds FROM outbox) AS w,
         (SELECT count(*) AS quarantined, count(DISTINCT key) AS quarantined_keys FROM outbox_quarantine) AS q"
    );
    Ok(diesel::sql_query(status).get_result(&mut session).await?)
}
