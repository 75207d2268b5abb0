//! # A PostgreSQL of one's own
//!
//! [`PrivatePostgres`] is a real server in a folder that is made for it and removed with it, reachable only
//! from this machine, with a password that nobody chose. It is found ([`binaries`]) or fetched once
//! ([`fetch`]), and started as the least of users ([`account`]): PostgreSQL refuses to run as root.
//!
//! [`TestDatabase`] is a database of one's own on any server.
//!
//! Data is as safe as on a production server while it runs (`fsync` on) unless a test says otherwise; it is
//! not there to be kept.

mod account;
mod binaries;
mod error;
mod fetch;
mod folder;
mod private_postgres;
mod settings;
mod test_database;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::PostgresError;
pub use private_postgres::PrivatePostgres;
pub use test_database::{TestDatabase, TestDatabaseError};

/// The first major version whose binaries we take.
pub const OLDEST_MAJOR: u32 = 15;

/// Told, in a few words, what takes long.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// How to run a private server.
#[derive(Clone)]
pub struct PostgresOptions {
    /// False only where losing the data in a crash of the machine is part of the plan: in tests.
    pub durable: bool,
    /// Where the program comes from.
    pub origin: Origin,
    /// Who is told what takes long.
    pub progress: Progress,
}

/// Where the server's program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An installed PostgreSQL, else the fetched build.
    InstalledOrFetched,
    /// The fetched build, whatever is installed.
    Fetched,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { durable: true, origin: Origin::InstalledOrFetched, progress: Arc::new(|_| {}) }
    }
}

impl PostgresOptions {
    /// For tests: nothing waits for a disk.
    pub fn for_tests() -> Self {
        Self { durable: false, ..Self::default() }
    }
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { durable, origin, progress: _ } = self;
        formatter.debug_struct("PostgresOptions").field("durable", durable).field("origin", origin).finish()
    }
}

/// The cluster's files inside a private folder.
pub(crate) fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Where the running server wrote its process id; it removes the file when it ends in good order.
pub(crate) fn pid_file(folder: &Path) -> PathBuf {
    data_folder(folder).join("postmaster.pid")
}
