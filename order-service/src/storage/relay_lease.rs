//! # Relay lease
//!
//! One row that says which instance publishes the outbox. Whether a lease is over is judged by the database's clock
//! alone, so clocks of instances that differ do no harm.

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

/// Takes the lease, or renews it: both are the same statement. None while somebody else holds it; otherwise how often
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
    Ok(relay_lease::table.select(relay_lease::holder_name).first(&mut session).await?)
}

struct Take<'c> {
    claim: &'c Claim,
    milliseconds: i64,
    scan_floor: i64,
}

prepared_once!(Take<'_>);

impl QueryFragment<Pg> for Take<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("UPDATE relay_lease SET holder_name = ");
        out.push_bind_param::<Text, _>(&self.claim.holder_name)?;
        out.push_sql(", scan_floor = ");
        out.push_bind_param::<BigInt, _>(&self.scan_floor)?;
        out.push_sql(", until = clock_timestamp() + ");
        out.push_bind_param::<BigInt, _>(&self.milliseconds)?;
        out.push_sql(" * interval '1 millisecond', since = CASE WHEN holder = ");
        out.push_bind_param::<SqlUuid, _>(&self.claim.holder)?;
        out.push_sql(" THEN since ELSE clock_timestamp() END, holder = ");
        out.push_bind_param::<SqlUuid, _>(&self.claim.holder)?;
        out.push_sql(" WHERE holder = ");
        out.push_bind_param::<SqlUuid, _>(&self.claim.holder)?;
        out.push_sql(" OR until < clock_timestamp() RETURNING rescans");
        Ok(())
    }
}

impl Query for Take<'_> {
    type SqlType = BigInt;
}
