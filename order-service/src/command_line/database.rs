//! # The database of a command
//!
//! Commands that work on what is stored wait for nothing: somebody sits in front of them. Before they begin, the database
//! must answer and have this program's schema; if not, its address is told, and what to do.

use crate::settings::DatabaseSettings;
use crate::storage::database::Database;
use crate::storage::error::DatabaseError;
use crate::storage::migrations::{self, MigrationError};
use service_chassis::settings::DatabaseUrl;
use thiserror::Error;

/// Why the database is of no use to a command, which has done nothing.
#[derive(Debug, Error)]
pub(super) enum UnusableDatabase {
    /// The settings cannot work.
    #[error(transparent)]
    Settings(DatabaseError),
    /// It does not answer.
    #[error("{url}: {cause}: start it, or correct database.url")]
    Away {
        /// Where it should be, without its password.
        url: DatabaseUrl,
        /// Why it could not be reached.
        cause: DatabaseError,
    },
    /// It answers, but is not this program's.
    #[error("{url}: {cause}")]
    Refused {
        /// Where it is, without its password.
        url: DatabaseUrl,
        /// Why not.
        cause: MigrationError,
    },
}

/// The database, once it has answered and has this program's schema.
pub(super) async fn usable(settings: &DatabaseSettings) -> Result<Database, UnusableDatabase> {
    let database = Database::new(settings).map_err(UnusableDatabase::Settings)?;
    let url = settings.url.clone();
    match migrations::check(&database).await {
        Ok(()) => Ok(database),
        Err(MigrationError::Database(
            cause @ (DatabaseError::Unavailable(_) | DatabaseError::Busy(_) | DatabaseError::Cancelled(_)),
        )) => Err(UnusableDatabase::Away { url, cause }),
        Err(cause) => Err(UnusableDatabase::Refused { url, cause }),
    }
}
