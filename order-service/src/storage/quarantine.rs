//! # Quarantine rows
//!
//! Rows move between the outbox and its quarantine by single statements, so each is in exactly one of them. They keep
//! their seq, which is what the order of a key is.

use super::error::DatabaseError;
use super::schema::outbox_quarantine;
use super::{Session, prepared_once};
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Double, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use std::future::Future;
use std::time::Duration;
use uuid::Uuid;

const COLUMNS: &str = "seq, topic, key, event_id, payload, headers, created_at";

/// A row in quarantine, without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedRow {
    /// Its place in the order of its key.
    pub seq: i64,
    /// The record's key.
    pub key: String,
    /// Names the event.
    pub event_id: Uuid,
    /// Of its payload.
    pub bytes: i32,
    /// When it was committed.
    pub created_at: DateTime<Utc>,
    /// When it came here.
    pub quarantined_at: DateTime<Utc>,
    /// Why it was refused; none: an earlier row of its key is here.
    pub cause: Option<String>,
}

/// Which rows an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// All rows of a key.
    Key(String),
    /// One row.
    Seq(i64),
}

/// Takes a row out of the outbox that Kafka refuses for good; how many. None: it is locked, or the quarantine is, it is gone, or
/// another event has its seq in quarantine, or somebody else than `holder` has the lease.
///
/// # Errors
/// [`DatabaseError`].
pub async fn quarantine(
    mut session: &Session,
    holder: Uuid,
    seq: i64,
    cause: &str,
) -> Result<usize, DatabaseError> {
    soon(session, Quarantine { holder, seq, cause }.execute(&mut session)).await
}

/// Takes out those of these rows of which an earlier row of the key is in quarantine, too; how many. None, if somebody else than
/// `holder` has the lease.
///
/// # Errors
/// [`DatabaseError`].
pub async fn move_along(mut session: &Session, holder: Uuid, seqs: &[i64]) -> Result<usize, DatabaseError> {
    soon(session, MoveAlong { holder, seqs }.execute(&mut session)).await
}

/// The keys that have rows in quarantine, each with the lowest seq of those.
///
/// # Errors
/// [`DatabaseError`].
pub async fn keys(mut session: &Session) -> Result<Vec<(String, i64)>, DatabaseError> {
    let lowest = diesel::dsl::sql::<BigInt>("min(seq)");
    let keys = outbox_quarantine::table.group_by(outbox_quarantine::key);
    Ok(keys.select((outbox_quarantine::key, lowest)).load(&mut session).await?)
}

/// The selected rows, in the order of their seq, at most `limit`.
///
/// # Errors
/// [`DatabaseError`].
pub async fn list(
    mut session: &Session,
    selection: &Selection,
    limit: i64,
) -> Result<Vec<QuarantinedRow>, DatabaseError> {
    use outbox_quarantine::dsl;
    let bytes = diesel::dsl::sql::<diesel::sql_types::Integer>("octet_length(payload)");
    let rows = dsl::outbox_quarantine
        .select((dsl::seq, dsl::key, dsl::event_id, bytes, dsl::created_at, dsl::quarantined_at, dsl::cause))
        .order(dsl::seq)
        .limit(limit)
        .into_boxed();
    let rows = match selection {
        Selection::All => rows,
        Selection::Key(key) => rows.filter(dsl::key.eq(key)),
        Selection::Seq(seq) => rows.filter(dsl::seq.eq(*seq)),
    };
    Ok(rows.load(&mut session).await?)
}

/// How many rows a transaction of a release moves.
pub const RELEASED_AT_ONCE: usize = 1000;

/// Puts selected rows back into the outbox, with the seq that they had: the lowest [`RELEASED_AT_ONCE`] above a seq; which. The relay is
/// told to look for them, and from where, as its reads begin above them. Whoever calls it again goes on above the last: what
/// is still refused has come back meanwhile. What is left of a key stays held, so nothing overtakes.
///
/// A relay that is moving a row of the key here at this moment is waited for, and one that begins to has to come later: the row
/// would else stay behind in quarantine, though its key was released.
///
/// # Errors
/// [`DatabaseError`].
pub async fn release(
    session: &mut Session,
    selection: &Selection,
    above: i64,
) -> Result<Vec<i64>, DatabaseError> {
    let released = format!(
        "WITH released AS (DELETE FROM outbox_quarantine WHERE seq = ANY(ARRAY(\
             SELECT seq FROM outbox_quarantine WHERE {} AND seq > {above} ORDER BY seq LIMIT {RELEASED_AT_ONCE})) \
             RETURNING {COLUMNS}), \
         told AS (UPDATE relay_lease SET rescans = rescans + 1, \
             published_up_to = least(published_up_to, (SELECT min(seq) - 1 FROM released)), \
             published_at_rescans = CASE WHEN published_at_rescans = rescans THEN rescans + 1 ELSE published_at_rescans END) \
         INSERT INTO outbox ({COLUMNS}) OVERRIDING SYSTEM VALUE SELECT {COLUMNS} FROM released RETURNING seq",
        condition(selection)
    );
    let in_transaction = session.transaction(async |session| {
        session.batch_execute("LOCK TABLE outbox_quarantine IN SHARE ROW EXCLUSIVE MODE").await?;
        let released = diesel::sql_query(released);
        match selection {
            Selection::All => released.load(session).await,
            Selection::Key(key) => released.bind::<Text, _>(key).load(session).await,
            Selection::Seq(seq) => released.bind::<BigInt, _>(seq).load(session).await,
        }
    });
    let released: Vec<Released> = in_transaction.await.map_err(DatabaseError::of_change)?;
    Ok(released.into_iter().map(|row| row.seq).collect())
}

#[derive(QueryableByName)]
struct Released {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// Deletes the selected rows: their events are never published. Which they were.
///
/// # Errors
/// [`DatabaseError`].
pub async fn discard(
    mut session: &Session,
    selection: &Selection,
) -> Result<Vec<QuarantinedRow>, DatabaseError> {
    use outbox_quarantine::dsl;
    let bytes = diesel::dsl::sql::<diesel::sql_types::Integer>("octet_length(payload)");
    let rows = diesel::delete(dsl::outbox_quarantine).into_boxed();
    let rows = match selection {
        Selection::All => rows,
        Selection::Key(key) => rows.filter(dsl::key.eq(key)),
        Selection::Seq(seq) => rows.filter(dsl::seq.eq(*seq)),
    };
    let columns =
        (dsl::seq, dsl::key, dsl::event_id, bytes, dsl::created_at, dsl::quarantined_at, dsl::cause);
    rows.returning(columns).get_results(&mut session).await.map_err(DatabaseError::of_change)
}

/// Deletes rows that are here for longer than `age`, the oldest first, at most so many, but for locked ones. Which they were.
///
/// # Errors
/// [`DatabaseError`].
pub async fn discard_older(
    mut session: &Session,
    age: Duration,
    limit: i64,
) -> Result<Vec<QuarantinedRow>, DatabaseError> {
    soon(session, DiscardOlder { seconds: age.as_secs_f64(), limit }.load(&mut session)).await
}

/// What the relay changes here. It waits for the locks of others, an operator's release for example, for a moment only: its
/// lease would else run out meanwhile. Then nothing was changed, and it tries again later.
///
/// The session is told, and not the statement: a table is locked before a statement begins.
async fn soon<T: Default>(
    mut session: &Session,
    change: impl Future<Output = QueryResult<T>>,
) -> Result<T, DatabaseError> {
    diesel::sql_query("SET lock_timeout = '100ms'").execute(&mut session).await?;
    let changed = change.await.map_err(DatabaseError::from);
    diesel::sql_query("SET lock_timeout = 0").execute(&mut session).await?;
    match changed {
        Err(DatabaseError::Locked(_)) => Ok(T::default()),
        known => known,
    }
}

fn condition(selection: &Selection) -> &'static str {
    match selection {
        Selection::All => "true",
        Selection::Key(_) => "key = $1",
        Selection::Seq(_) => "seq = $1",
    }
}

/// What was here under the same seq, as somebody has copied it back, is replaced by what was refused now. Another event that
/// has the seq is not: see [`IS_FREE`].
const INTO_QUARANTINE: &str = " ON CONFLICT (seq) DO UPDATE SET topic = excluded.topic, key = excluded.key, \
     payload = excluded.payload, headers = excluded.headers, created_at = excluded.created_at, \
     quarantined_at = excluded.quarantined_at, cause = excluded.cause";

/// Whether a row can move: its seq is not another event's in quarantine, and no other session has it locked, which would
/// be waited for.
const IS_FREE: &str = " AND NOT EXISTS (SELECT FROM outbox_quarantine AS other WHERE other.seq = candidate.seq \
     AND other.event_id <> candidate.event_id) FOR UPDATE SKIP LOCKED))";

/// Who has lost the lease, and does not know it yet, moves nothing: it does not know which keys are held.
fn push_publishes<'b>(holder: &'b Uuid, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql(" AND EXISTS (SELECT FROM relay_lease WHERE holder = ");
    out.push_bind_param::<SqlUuid, _>(holder)?;
    out.push_sql(")");
    Ok(())
}

struct Quarantine<'a> {
    holder: Uuid,
    seq: i64,
    cause: &'a str,
}

prepared_once!(Quarantine<'_>);

impl QueryFragment<Pg> for Quarantine<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH refused AS (DELETE FROM outbox WHERE ctid = ANY(ARRAY(SELECT ctid FROM outbox AS candidate WHERE seq = ");
        out.push_bind_param::<BigInt, _>(&self.seq)?;
        push_publishes(&self.holder, &mut out)?;
        out.push_sql(IS_FREE);
        out.push_sql(" RETURNING *) INSERT INTO outbox_quarantine (seq, topic, key, event_id, payload, headers, created_at, cause) ");
        out.push_sql("SELECT seq, topic, key, event_id, payload, headers, created_at, ");
        out.push_bind_param::<Text, _>(self.cause)?;
        out.push_sql(" FROM refused");
        out.push_sql(INTO_QUARANTINE);
        Ok(())
    }
}

struct MoveAlong<'a> {
    holder: Uuid,
    seqs: &'a [i64],
}

prepared_once!(MoveAlong<'_>);

impl QueryFragment<Pg> for MoveAlong<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH held AS (DELETE FROM outbox WHERE ctid = ANY(ARRAY(SELECT ctid FROM outbox AS candidate WHERE seq = ANY(");
        out.push_bind_param::<Array<BigInt>, _>(&self.seqs)?;
        out.push_sql(") AND EXISTS (SELECT FROM outbox_quarantine AS earlier WHERE earlier.key = candidate.key AND earlier.seq < candidate.seq)");
        push_publishes(&self.holder, &mut out)?;
        out.push_sql(IS_FREE);
        out.push_sql(
            " RETURNING *) INSERT INTO outbox_quarantine (seq, topic, key, event_id, payload, headers, created_at) \
             SELECT seq, topic, key, event_id, payload, headers, created_at FROM held",
        );
        out.push_sql(INTO_QUARANTINE);
        Ok(())
    }
}

struct DiscardOlder {
    seconds: f64,
    limit: i64,
}

impl QueryId for DiscardOlder {
    type QueryId = Self;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for DiscardOlder {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "DELETE FROM outbox_quarantine WHERE seq IN (SELECT seq FROM outbox_quarantine \
             WHERE quarantined_at < clock_timestamp() - make_interval(secs => ",
        );
        out.push_bind_param::<Double, _>(&self.seconds)?;
        out.push_sql(") ORDER BY seq LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(
            " FOR UPDATE SKIP LOCKED) RETURNING seq, key, event_id, octet_length(payload), created_at, quarantined_at, cause",
        );
        Ok(())
    }
}

impl diesel::query_builder::Query for DiscardOlder {
    type SqlType = (BigInt, Text, SqlUuid, Integer, Timestamptz, Timestamptz, Nullable<Text>);
}
