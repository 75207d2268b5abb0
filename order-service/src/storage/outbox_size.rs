//! # Outbox size
//!
//! How much waits to be published, at a price that does not grow with it: by the time that a backlog is large enough to
//! matter, counting it takes longer than a statement may, and nobody would know. So it is estimated from a sample.
//!
//! The range from the lowest pending seq to the highest that was drawn is divided into stretches, which get twice as wide
//! each time the distance from its upper end doubles; of each stretch, 20 rows from its middle are looked at and stand for all of
//! it. What has come last is what waits, but for what hangs: so a backlog lies in 20 stretches and more, however far
//! below it one old row is left. The last 800 are counted exactly, and 36 million rows cost 7,000.

use super::Session;
use super::error::DatabaseError;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double};
use diesel_async::RunQueryDsl;

/// What a row takes of the disk, in bytes: as it is stored, with its header, its padding and its entry in the index.
pub(super) const DISK_BYTES_OF_A_ROW: &str =
    "90 + pg_column_size(topic) + pg_column_size(key) + pg_column_size(payload) + pg_column_size(headers)";

/// How much waits, about; and what stands beside it, exactly.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct OutboxSize {
    /// Events that wait.
    #[diesel(sql_type = Double)]
    pub pending: f64,
    /// Bytes of their payloads.
    #[diesel(sql_type = Double)]
    pub pending_bytes: f64,
    /// Bytes of the disk that their rows take.
    #[diesel(sql_type = Double)]
    pub pending_disk_bytes: f64,
    /// Bytes of the table and its index, dead rows and what vacuum has freed included.
    #[diesel(sql_type = BigInt)]
    pub table_bytes: i64,
    /// Rows that vacuum has still to remove, by the server's statistics.
    #[diesel(sql_type = BigInt)]
    pub dead_rows: i64,
    /// Rows in quarantine.
    #[diesel(sql_type = BigInt)]
    pub quarantined: i64,
}

/// One look.
///
/// # Errors
/// [`DatabaseError`].
pub async fn estimate(mut session: &Session) -> Result<OutboxSize, DatabaseError> {
    let estimate = format!(
        "WITH range AS MATERIALIZED (
             SELECT s.last_value AS high, (
                 SELECT seq - 1 FROM outbox
                 WHERE seq > coalesce((SELECT published_up_to FROM relay_lease WHERE published_at_rescans = rescans), 0)
                 ORDER BY seq LIMIT 1) AS low
             FROM outbox_seq_seq AS s),
         stretch AS MATERIALIZED (
             SELECT high - nearest - (j + 1) * width + (width - taken) / 2 AS above, width, taken
             FROM range, generate_series(0, 50) AS k, generate_series(0, 19) AS j,
                  LATERAL (SELECT CASE k WHEN 0 THEN 0 ELSE 400::bigint << (k - 1) END AS nearest,
                                  20::bigint << greatest(k - 1, 0) AS width, 20::bigint AS taken) AS size
             WHERE nearest < high - low),
         sample AS (
             SELECT coalesce(sum(rows * (width / taken)), 0)::float8 AS pending,
                    coalesce(sum(payload * (width / taken)), 0)::float8 AS pending_bytes,
                    coalesce(sum(disk * (width / taken)), 0)::float8 AS pending_disk_bytes
             FROM stretch, LATERAL (
                 SELECT count(*) AS rows, sum(octet_length(payload)) AS payload, sum({DISK_BYTES_OF_A_ROW}) AS disk
                 FROM outbox WHERE seq > above AND seq <= above + taken) AS found)
         SELECT sample.*, pg_total_relation_size('outbox') AS table_bytes,
                coalesce(pg_stat_get_dead_tuples('outbox'::regclass), 0) AS dead_rows,
                (SELECT count(*) FROM outbox_quarantine) AS quarantined
         FROM sample"
    );
    Ok(diesel::sql_query(estimate).get_result(&mut session).await?)
}
