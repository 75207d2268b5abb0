//! # Migrations
//!
//! Compiled in. `order-service migrate` applies them; serving only compares: it waits until one that is
//! older than this program was migrated, and refuses a newer one.

use super::Session;
use super::database::Database;
use super::error::DatabaseError;
use diesel::dsl::sql;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::{AsyncMigrationHarness, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::collections::BTreeSet;
use thiserror::Error;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Why the schema is not what this program needs.
#[derive(Debug, Error)]
pub enum MigrationError {
    /// The database cannot be asked.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A migration failed; it was rolled back.
    #[error("the migration failed and was rolled back: {0}")]
    Failed(String),
    /// Migrations are missing.
    #[error("the database lacks {} of this program's migrations ({}): run `order-service migrate` first", .0.len(), .0.join(", "))]
    Behind(Vec<String>),
    /// A newer program has migrated it.
    #[error("the database has migrations that this program does not know ({}): it was migrated by a newer version; run that one", .0.join(", "))]
    Ahead(Vec<String>),
}

/// Applies what is missing, and returns the names of what was applied. A database of a newer version is left alone.
///
/// # Errors
/// [`MigrationError`].
pub async fn migrate(database: &Database) -> Result<Vec<String>, MigrationError> {
    match check(database).await {
        Ok(()) => return Ok(Vec::new()),
        Err(MigrationError::Behind(_)) => {}
        Err(error @ (MigrationError::Database(_) | MigrationError::Failed(_) | MigrationError::Ahead(_))) => {
            return Err(error);
        }
    }
    let mut harness = AsyncMigrationHarness::new(database.session().await?.take());
    let applied = harness
        .run_pending_migrations(MIGRATIONS)
        .map_err(|error| MigrationError::Failed(error.to_string()))?;
    Ok(applied.iter().map(ToString::to_string).collect())
}

/// Compares the database's migrations with this program's. It only reads.
///
/// # Errors
/// [`MigrationError::Behind`] and [`MigrationError::Ahead`] name the difference.
pub async fn check(database: &Database) -> Result<(), MigrationError> {
    let mut session = database.session().await?;
    let applied = database.within_limit(applied_versions(&mut session)).await?;
    let known = known_versions().map_err(|error| MigrationError::Failed(error.to_string()))?;
    let difference =
        |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    let (missing, unknown) = (difference(&known, &applied), difference(&applied, &known));
    if !unknown.is_empty() {
        Err(MigrationError::Ahead(unknown))
    } else if missing.is_empty() {
        Ok(())
    } else {
        Err(MigrationError::Behind(missing))
    }
}

/// Not by diesel's harness, which creates its table when it is asked what is in it.
async fn applied_versions(session: &mut Session) -> Result<BTreeSet<String>, DatabaseError> {
    let table = sql::<Bool>("to_regclass('__diesel_schema_migrations') IS NOT NULL");
    let exists: bool = diesel::select(table).get_result(session).await?;
    if !exists {
        return Ok(BTreeSet::new());
    }
    let versions: Vec<String> =
        __diesel_schema_migrations::table.select(__diesel_schema_migrations::version).load(session).await?;
    Ok(versions.into_iter().collect())
}

diesel::table! {
    /// Diesel's own record of what was applied.
    __diesel_schema_migrations (version) {
        /// The migration's version.
        version -> Text,
    }
}

fn known_versions() -> Result<BTreeSet<String>, Box<dyn std::error::Error + Send + Sync>> {
    let migrations: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations()?;
    Ok(migrations.iter().map(|migration| migration.name().version().to_string()).collect())
}
