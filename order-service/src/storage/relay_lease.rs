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
use diesel::sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid};
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

/// What the holder knows of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// It reads only rows above this; shown to a person.
    pub scan_floor: i64,
    /// Every row up to this is published, and none of them is on its way.
    pub published_up_to: i64,
    /// How often rows had come back from below the floor by then ([`Noted::rescans`]).
    pub rescans: i64,
}

/// What is written down beside the lease, for whoever publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable)]
pub struct Noted {
    /// How often rows have come back from below the floor.
    pub rescans: i64,
    /// Every row up to this is published, as far as anybody knows; of rows that came back it tells where the lowest is.
    pub published_up_to: i64,
}

/// Takes the lease, or renews it, or makes its row: all are the same statement. None while somebody else holds it. Who knows
/// nothing yet leaves what the last holder knew, and who has not heard of rows that came back leaves where those are.
///
/// # Errors
/// [`DatabaseError::Locked`] soon, if another session has the row locked; any other.
pub async fn take(
    mut session: &Session,
    claim: &Claim,
    known: Option<Known>,
) -> Result<Option<Noted>, DatabaseError> {
    let milliseconds = i64::try_from(claim.ttl.as_millis()).unwrap_or(i64::MAX);
    let take = Take {
        claim,
        milliseconds,
        scan_floor: known.map(|known| known.scan_floor),
        published_up_to: known.map(|known| known.published_up_to),
        rescans: known.map(|known| known.rescans),
    };
    Ok(take.get_result(&mut session).await.optional()?)
}

/// What is written down now. None: somebody has deleted the row.
///
/// # Errors
/// [`DatabaseError`].
pub async fn noted(mut session: &Session) -> Result<Option<Noted>, DatabaseError> {
    let published_up_to = diesel::dsl::sql::<BigInt>(
        "CASE WHEN published_at_rescans = rescans THEN published_up_to ELSE 0 END",
    );
    let noted = relay_lease::table.select((relay_lease::rescans, published_up_to));
    Ok(noted.first(&mut session).await.optional()?)
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
    scan_floor: Option<i64>,
    published_up_to: Option<i64>,
    rescans: Option<i64>,
}

prepared_once!(Take<'_>);

impl QueryFragment<Pg> for Take<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH claim AS MATERIALIZED (SELECT clock_timestamp() AS now, ");
        out.push_bind_param::<SqlUuid, _>(&self.claim.holder)?;
        out.push_sql(" AS holder, ");
        out.push_bind_param::<Text, _>(&self.claim.holder_name)?;
        out.push_sql(" AS holder_name, ");
        out.push_bind_param::<BigInt, _>(&self.milliseconds)?;
        out.push_sql(" * interval '1 millisecond' AS ttl, ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.scan_floor)?;
        out.push_sql("::bigint AS scan_floor, ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.published_up_to)?;
        out.push_sql("::bigint AS published_up_to, ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.rescans)?;
        out.push_sql(
            "::bigint AS rescans WHERE (SELECT set_config('lock_timeout', '100ms', true)) IS NOT NULL), taken AS (\
             UPDATE relay_lease AS l SET holder = c.holder, holder_name = c.holder_name, \
             scan_floor = coalesce(c.scan_floor, l.scan_floor), \
             published_up_to = CASE WHEN c.rescans = l.rescans THEN c.published_up_to \
                 ELSE least(c.published_up_to, l.published_up_to) END, \
             published_at_rescans = CASE WHEN c.rescans = l.rescans THEN l.rescans ELSE l.published_at_rescans END, \
             ttl = c.ttl, until = c.now + c.ttl, since = CASE WHEN l.holder = c.holder THEN l.since ELSE c.now END \
             FROM claim AS c WHERE l.holder = c.holder OR l.until < c.now OR l.until > c.now + 2 * l.ttl \
             RETURNING l.rescans, l.published_up_to, l.published_at_rescans), made AS (\
             INSERT INTO relay_lease (holder, holder_name, ttl, until, since) \
             SELECT c.holder, c.holder_name, c.ttl, c.now + c.ttl, c.now FROM claim AS c \
             WHERE NOT EXISTS (SELECT FROM relay_lease) ON CONFLICT DO NOTHING \
             RETURNING rescans, published_up_to, published_at_rescans) \
             SELECT rescans, CASE WHEN published_at_rescans = rescans THEN published_up_to ELSE 0 END \
             FROM (SELECT * FROM taken UNION ALL SELECT * FROM made) AS lease",
        );
        Ok(())
    }
}

impl Query for Take<'_> {
    type SqlType = (BigInt, BigInt);
}
