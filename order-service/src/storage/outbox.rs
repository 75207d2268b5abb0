//! # Outbox rows
//!
//! Written by [`super::transaction_completion`] as the last statement before COMMIT; read and deleted by the
//! relay. Deleting is by exact `seq` only, never by range (a row of a lower seq may commit late and would die
//! unsent), and by the event's id as well: after a restore the same seq may be another event's, which would die unsent, too.
//!
//! What the relay runs takes a shared session, so that a delete and the next read are pipelined.

use super::error::DatabaseError;
use super::schema::outbox;
use super::{Session, prepared_once};
use crate::outbox::in_flight::PublishedRow;
use crate::outbox::message::{OutboxMessage, PendingMessage};
use crate::outbox::message_headers::MessageHeaders;
use crate::outbox::scan_floor::Writers;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Bool, Double, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use std::time::Duration;
use uuid::Uuid;

/// Behind what the publishing instance has noted as published.
const NOT_PUBLISHED: &str =
    "seq > coalesce((SELECT published_up_to FROM relay_lease WHERE published_at_rescans = rescans), 0)";

/// How long the oldest pending message has waited, by the database's clock. It is looked for behind what the publishing instance
/// has noted as published, or rows that vacuum may not remove yet would be waded through each time.
///
/// # Errors
/// [`DatabaseError`].
pub async fn oldest_age(session: &mut Session) -> Result<Option<Duration>, DatabaseError> {
    let age = diesel::dsl::sql::<Double>("extract(epoch FROM clock_timestamp() - created_at)::float8");
    let oldest = outbox::table
        .select(age)
        .filter(diesel::dsl::sql::<Bool>(NOT_PUBLISHED))
        .order(outbox::seq)
        .first::<f64>(session)
        .await
        .optional()?;
    Ok(oldest.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
}

/// Appends the messages in their order; without messages it still proves that the transaction is alive.
pub(super) async fn append(mut session: &Session, messages: &[OutboxMessage]) -> Result<(), DatabaseError> {
    if messages.is_empty() {
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1")).execute(&mut session).await?;
        return Ok(());
    }
    Append::of(messages).execute(&mut session).await?;
    Ok(())
}

/// `INSERT .. SELECT .. FROM unnest(..)`: one text for any number of rows, so that it is prepared once.
struct Append<'m> {
    topics: Vec<&'m str>,
    keys: Vec<&'m str>,
    event_ids: Vec<Uuid>,
    payloads: Vec<&'m str>,
    headers: Vec<&'m str>,
}

prepared_once!(Append<'_>);

impl<'m> Append<'m> {
    fn of(messages: &'m [OutboxMessage]) -> Self {
        Self {
            topics: messages.iter().map(|message| message.topic.as_str()).collect(),
            keys: messages.iter().map(|message| message.key.as_str()).collect(),
            event_ids: messages.iter().map(|message| message.event_id).collect(),
            payloads: messages.iter().map(|message| message.payload.as_str()).collect(),
            headers: messages.iter().map(|message| message.headers.as_json()).collect(),
        }
    }
}

impl QueryFragment<diesel::pg::Pg> for Append<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("INSERT INTO outbox (topic, key, event_id, payload, headers) SELECT m.topic, m.key, m.event_id, m.payload, m.headers::jsonb FROM unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.topics)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.keys)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.event_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.payloads)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.headers)?;
        out.push_sql(") WITH ORDINALITY AS m (topic, key, event_id, payload, headers, n) ORDER BY m.n");
        Ok(())
    }
}

/// The most that one read returns; one row is always returned, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimit {
    /// Rows.
    pub rows: i64,
    /// Bytes of their payloads.
    pub bytes: i64,
}

impl BatchLimit {
    /// Whether these rows are as many as a read returns, so that there may be more.
    pub fn is_reached_by(self, rows: &[PendingMessage]) -> bool {
        let bytes: usize = rows.iter().map(|row| row.message.payload.len()).sum();
        i64::try_from(rows.len()).is_ok_and(|rows| rows >= self.rows)
            || i64::try_from(bytes).is_ok_and(|bytes| bytes >= self.bytes)
    }
}

/// Where a read begins, and what it leaves out.
#[derive(Clone, Copy, Debug)]
pub struct Unread<'a> {
    /// Only rows of a higher seq ([`crate::outbox::scan_floor`]).
    pub above: i64,
    /// None of these.
    pub but: &'a [i64],
}

/// The pending rows, lowest first, within `limit`, without those whose event is in flight.
///
/// Reads begin at the floor, or behind earlier ones as far as nothing commits late any more ([`crate::outbox::scan_floor`]): the
/// order of seq is not the order of commits, and a row that commits late must still be found.
///
/// # Errors
/// [`DatabaseError`].
pub async fn pending(
    mut session: &Session,
    unread: Unread<'_>,
    limit: BatchLimit,
) -> Result<Vec<PendingMessage>, DatabaseError> {
    let rows: Vec<Row> = Pending { unread, limit }.load(&mut session).await?;
    let message = |(seq, topic, key, event_id, payload, headers): Row| PendingMessage {
        seq,
        message: OutboxMessage { topic, key, event_id, payload, headers: MessageHeaders::from_json(headers) },
    };
    Ok(rows.into_iter().map(message).collect())
}

type Row = (i64, String, String, Uuid, String, String);

struct Pending<'a> {
    unread: Unread<'a>,
    limit: BatchLimit,
}

prepared_once!(Pending<'_>);

impl QueryFragment<diesel::pg::Pg> for Pending<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT seq, topic, key, event_id, payload, headers::text FROM (\
             SELECT *, sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS bytes FROM (\
             SELECT seq, topic, key, event_id, payload, headers FROM outbox WHERE seq > ",
        );
        out.push_bind_param::<BigInt, _>(&self.unread.above)?;
        out.push_sql(" AND seq <> ALL(");
        out.push_bind_param::<Array<BigInt>, _>(&self.unread.but)?;
        out.push_sql(") ORDER BY seq LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit.rows)?;
        out.push_sql(") AS rows) AS sized WHERE bytes - octet_length(payload) < ");
        out.push_bind_param::<BigInt, _>(&self.limit.bytes)?;
        out.push_sql(" ORDER BY seq");
        Ok(())
    }
}

impl diesel::query_builder::Query for Pending<'_> {
    type SqlType = (BigInt, Text, Text, SqlUuid, Text, Text);
}

/// Deletes exactly these rows, but for those that another session has locked, which are not waited for; how many. Of fewer
/// than were named, [`left_of`] tells which are left.
///
/// Passing over locked rows locks the others before it deletes them, which takes three times as long. So that is only done
/// when it is `expected` that some are locked, or when it turns out that they are.
///
/// # Errors
/// [`DatabaseError`]; they may be gone.
pub async fn delete(
    mut session: &Session,
    rows: &[PublishedRow],
    expected: bool,
) -> Result<usize, DatabaseError> {
    if rows.is_empty() {
        return Ok(0);
    }
    let rows = These::of(rows);
    if !expected {
        let deleted = Delete { rows: &rows }.execute(&mut session).await;
        match deleted.map_err(DatabaseError::from) {
            // A server of another language is not understood.
            Err(
                DatabaseError::Locked(_)
                | DatabaseError::Busy(_)
                | DatabaseError::Cancelled(_)
                | DatabaseError::Refused(_),
            ) => {}
            done => return done,
        }
    }
    Ok(DeleteUnlocked { rows: &rows }.execute(&mut session).await?)
}

/// Which of these rows are still there, locked or not.
///
/// # Errors
/// [`DatabaseError`].
pub async fn left_of(mut session: &Session, rows: &[PublishedRow]) -> Result<Vec<i64>, DatabaseError> {
    Ok(LeftOf { rows: &These::of(rows) }.load(&mut session).await?)
}

/// `seq = ANY(..)` is what the index is asked for. The events' ids are a filter over what that found, as a hash table: `IS TRUE`
/// keeps the planner from making a join of it, whose plan could be a scan of the whole table, and an `= ANY(..)` would be
/// gone through from its beginning for each row.
struct These {
    seqs: Vec<i64>,
    event_ids: Vec<Uuid>,
}

impl These {
    fn of(rows: &[PublishedRow]) -> Self {
        let (seqs, event_ids) = rows.iter().map(|row| (row.seq, row.event_id)).unzip();
        Self { seqs, event_ids }
    }

    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("seq = ANY(");
        out.push_bind_param::<Array<BigInt>, _>(&self.seqs)?;
        out.push_sql(") AND (event_id IN (SELECT unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.event_ids)?;
        out.push_sql("))) IS TRUE");
        Ok(())
    }
}

struct LeftOf<'a> {
    rows: &'a These,
}

prepared_once!(LeftOf<'_>);

impl QueryFragment<diesel::pg::Pg> for LeftOf<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("SELECT seq FROM outbox WHERE ");
        self.rows.push(&mut out)
    }
}

impl diesel::query_builder::Query for LeftOf<'_> {
    type SqlType = BigInt;
}

struct Delete<'a> {
    rows: &'a These,
}

prepared_once!(Delete<'_>);

/// Fails soon at a locked row; the session's other statements have no such limit.
impl QueryFragment<diesel::pg::Pg> for Delete<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql(
            "DELETE FROM outbox WHERE (SELECT set_config('lock_timeout', '50ms', true)) IS NOT NULL AND ",
        );
        self.rows.push(&mut out)
    }
}

struct DeleteUnlocked<'a> {
    rows: &'a These,
}

prepared_once!(DeleteUnlocked<'_>);

/// By the place of the row, which nobody can change while it is locked here: the index is looked into once.
impl QueryFragment<diesel::pg::Pg> for DeleteUnlocked<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("DELETE FROM outbox WHERE ctid = ANY(ARRAY(SELECT ctid FROM outbox WHERE ");
        self.rows.push(&mut out)?;
        out.push_sql(" FOR UPDATE SKIP LOCKED))");
        Ok(())
    }
}

/// The highest seq that was drawn, by anybody, committed or not.
///
/// # Errors
/// [`DatabaseError`].
pub async fn reached(mut session: &Session) -> Result<i64, DatabaseError> {
    let last = diesel::dsl::sql::<BigInt>("last_value - (NOT is_called)::integer FROM outbox_seq_seq");
    Ok(diesel::select(last).get_result(&mut session).await?)
}

/// The transactions that have the outbox open for writing, prepared ones included, by their virtual ids; not this session's.
///
/// By the database as well: one that was copied from a template has tables of the same oid.
///
/// # Errors
/// [`DatabaseError`].
pub async fn writers(mut session: &Session) -> Result<Writers, DatabaseError> {
    let writers = diesel::dsl::sql::<Text>(
        "virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND relation = 'outbox'::regclass \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND mode = 'RowExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid()",
    );
    let writers: Vec<String> = diesel::select(writers).load(&mut session).await?;
    Ok(writers.into_iter().collect())
}

/// The lowest pending seq.
///
/// # Errors
/// [`DatabaseError`].
pub async fn lowest(mut session: &Session, unread: Unread<'_>) -> Result<Option<i64>, DatabaseError> {
    let rows = outbox::table.select(outbox::seq).filter(outbox::seq.gt(unread.above));
    let left = rows.filter(outbox::seq.ne_all(unread.but)).order(outbox::seq);
    Ok(left.first(&mut session).await.optional()?)
}

/// Whether at least so many rows wait. It looks at no more of them, and at none of those that are gone, as [`oldest_age`] does not.
///
/// # Errors
/// [`DatabaseError`].
pub async fn has_at_least(session: &mut Session, rows: i64) -> Result<bool, DatabaseError> {
    let waiting = outbox::table.select(outbox::seq).filter(diesel::dsl::sql::<Bool>(NOT_PUBLISHED));
    let last = waiting.order(outbox::seq).offset(rows.saturating_sub(1));
    Ok(last.first::<i64>(session).await.optional()?.is_some())
}
