//! # Relay lease
//!
//! One row that says which instance publishes the outbox. Whether a lease is over is judged by the database's clock
//! alone, so clocks of instances that differ do no harm. That clock may be wrong itself: a lease that ends later than one
//! that was taken now could, twice over, is over as well. Without the row it is made anew.

use super::error::DatabaseError;
use super::schema::relay_lease;
use super::{Session, prepared_once};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment};
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use std::time::Duration;
use uuid::Uuid;

/// Who asks for the lease, and for how long.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Names the instance.
    pub holder: Uuid,
    /// The same, for a person.
    pub holder_name: String,
    /// How long it holds without being renewed.
    pub ttl: Duration,
}

/// Takes the lease, or renews it, or makes its row: all are the same statement. None while somebody else holds it; otherwise how often
/// rows have come back from below the floor. `scan_floor` is shown to a person.
///
/// # Errors
/// [`DatabaseError`].
pub async fn take(
    mut session: &Session,
    claim: &Claim,
    scan_floor: i64,
) -> Result<Option<i64>, DatabaseError> {
    let milliseconds = i64::try_from(claim.ttl.as_millis()).unwrap_or(i64::MAX);
    Ok(Take { claim, milliseconds, scan_floor }.get_result(&mut session).await.optional()?)
}

/// Gives the lease back, if this instance holds it: the next one need not wait for its end.
///
/// # Errors
/// [`DatabaseError`].
pub async fn give_back(mut session: &Session, holder: Uuid) -> Result<(), DatabaseError> {
    let never = diesel::dsl::sql::<diesel::sql_types::Timestamptz>("'-infinity'");
    diesel::update(relay_lease::table.filter(relay_lease::holder.eq(holder)))
        .set(relay_lease::until.eq(never))
        .execute(&mut session)
        .await?;
    Ok(())
}

/// The name of who holds the lease now, or held it last.
///
/// # Errors
/// [`DatabaseError`].
pub async fn holder_name(mut session: &Session) -> Result<Option<String>, DatabaseError> {
    let name = relay_lease::table.select(relay_lease::holder_name).first(&mut session).await.optional()?;
    Ok(name.flatten())
}

struct Take<'c> {
    claim: &'c Claim,
    milliseconds: i64,
    scan_floor: i64,
}

prepared_once!(Take<'_>);

impl QueryFragment<Pg> for Take<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH claim AS MATERIALIZED (SELECT clock_timestamp() AS now, ");
        out.push_bind_param::<SqlUuid, _>(&self.claim.holder)?;
        out.push_sql(" AS holder, ");
        out.push_bind_param::<Text, _>(&self.claim.holder_name)?;
        out.push_sql(" AS holder_name, ");
        out.push_bind_param::<BigInt, _>(&self.scan_floor)?;
        out.push_sql(" AS scan_floor, ");
        out.push_bind_param::<BigInt, _>(&self.milliseconds)?;
        out.push_sql(
            " * interval '1 millisecond' AS ttl), taken AS (\
             UPDATE relay_lease AS l SET holder = c.holder, holder_name = c.holder_name, scan_floor = c.scan_floor, \
             ttl = c.ttl, until = c.now + c.ttl, since = CASE WHEN l.holder = c.holder THEN l.since ELSE c.now END \
             FROM claim AS c WHERE l.holder = c.holder OR l.until < c.now OR l.until > c.now + 2 * l.ttl \
             RETURNING l.rescans), made AS (\
             INSERT INTO relay_lease (holder, holder_name, scan_floor, ttl, until, since) \
             SELECT c.holder, c.holder_name, c.scan_floor, c.ttl, c.now + c.ttl, c.now FROM claim AS c \
             WHERE NOT EXISTS (SELECT FROM relay_lease) ON CONFLICT DO NOTHING RETURNING rescans) \
             SELECT rescans FROM taken UNION ALL SELECT rescans FROM made",
        );
        Ok(())
    }
}

impl Query for Take<'_> {
    type SqlType = BigInt;
}
