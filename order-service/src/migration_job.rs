//! # Migration job
//!
//! `order-service migrate`: brings the database up to date, once. It may be started before the database is, which is
//! waited for within `database.wait_timeout`. What no waiting cures ends it at once: a wrong password, a role or
//! database that does not exist, a schema of a newer version.

use crate::patience::Patience;
use crate::settings::DatabaseSettings;
use crate::storage::database::Database;
use crate::storage::error::DatabaseError;
use crate::storage::migrations::{self, MigrationError};
use service_chassis::settings::DatabaseUrl;
use std::time::Instant;
use thiserror::Error;
use tracing::{info, warn};

/// Why the database is not up to date.
#[derive(Debug, Error)]
pub enum MigrationJobError {
    /// The settings cannot work.
    #[error(transparent)]
    Settings(DatabaseError),
    /// It did not answer in time.
    #[error(
        "gave up on {url} after {seconds} s (database.wait_timeout): {cause}: start it, or correct database.url"
    )]
    NoDatabase {
        /// Where it should be, without its password.
        url: DatabaseUrl,
        /// How long it was waited for.
        seconds: u64,
        /// Why it could not be reached at the last attempt.
        cause: DatabaseError,
    },
    /// It answers, but cannot be migrated.
    #[error("{url}: {cause}")]
    Refused {
        /// Where it is, without its password.
        url: DatabaseUrl,
        /// Why not.
        cause: MigrationError,
    },
}

/// Waits for the database and applies what is missing.
///
/// # Errors
/// [`MigrationJobError`] names the address, and says what to do.
pub async fn run(settings: &DatabaseSettings) -> Result<(), MigrationJobError> {
    let database = Database::new(settings).map_err(MigrationJobError::Settings)?;
    let mut patience = Patience::new(settings.wait_timeout, Instant::now());
    let applied = loop {
        match migrations::migrate(&database).await {
            Ok(applied) => break applied,
            Err(MigrationError::Database(
                cause
                @ (DatabaseError::Unavailable(_) | DatabaseError::Busy(_) | DatabaseError::Cancelled(_)),
            )) => {
                let (url, seconds) = (settings.url.clone(), patience.seconds());
                let Some(pause) = patience.next_pause(Instant::now()) else {
                    return Err(MigrationJobError::NoDatabase { url, seconds, cause });
                };
                warn!("waiting for the database at {url}, {seconds} s so far: {cause}");
                tokio::time::sleep(pause).await;
            }
            Err(cause) => return Err(MigrationJobError::Refused { url: settings.url.clone(), cause }),
        }
    };
    if applied.is_empty() {
        info!("the database at {} is up to date", settings.url);
    }
    for migration in applied {
        info!("migration {migration} applied to {}", settings.url);
    }
    Ok(())
}
