//! # A database of one's own
//!
//! Tests share a server, never a database. Names are unique across processes; a database made from a
//! template has its tables at once, so migrations run once a server and not once a test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_postgres::{Config, NoTls};

use super::folder::random_text;

const CONNECT: Duration = Duration::from_secs(10);
static MADE: AtomicU64 = AtomicU64::new(0);

/// Why there is no such database.
#[derive(Debug, thiserror::Error)]
pub enum TestDatabaseError {
    /// Not a PostgreSQL address.
    #[error("not the address of a PostgreSQL server: {0}")]
    Address(String),
    /// The server said no, or was not there.
    #[error("test database: {0}")]
    Server(#[from] tokio_postgres::Error),
    /// No random name.
    #[error("test database: {0}")]
    Random(#[from] std::io::Error),
}

/// Dropped with its last connection cut when this value goes.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    name: String,
}

impl TestDatabase {
    /// An empty database on the server that `server`, an URL with any existing database, leads to.
    pub async fn create(server: &str) -> Result<Self, TestDatabaseError> {
        Self::made(server, "").await
    }

    /// A copy of `template`, which nobody may be connected to meanwhile.
    pub async fn copy_of(template: &Self) -> Result<Self, TestDatabaseError> {
        Self::made(&template.server, &format!(" TEMPLATE \"{}\"", template.name)).await
    }

    async fn made(server: &str, from: &str) -> Result<Self, TestDatabaseError> {
        let count = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{count}_{}", std::process::id(), &random_text()?[..8]);
        run(server, &format!("CREATE DATABASE \"{name}\"{from}")).await?;
        Ok(Self { server: server.to_owned(), name })
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to reach it.
    pub fn url(&self) -> String {
        let (address, options) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let root = address.rfind('/').map_or(address, |slash| &address[..slash]);
        let mark = if options.is_empty() { "" } else { "?" };
        format!("{root}/{}{mark}{options}", self.name)
    }

    fn statement_of_removal(&self) -> String {
        format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, statement) = (self.server.clone(), self.statement_of_removal());
        // On a thread with a runtime of its own: we may be dropped in any runtime, or in none.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            // A server that is gone has taken the database with it.
            runtime.block_on(run(&server, &statement)).ok()
        });
        // A panic in there is no reason for another one here.
        dropping.join().ok();
    }
}

async fn run(server: &str, statement: &str) -> Result<(), TestDatabaseError> {
    let mut config: Config = server
        .parse()
        .map_err(|error: tokio_postgres::Error| TestDatabaseError::Address(error.to_string()))?;
    let (client, connection) = config.connect_timeout(CONNECT).connect(NoTls).await?;
    let run = async move {
        let result = client.batch_execute(statement).await;
        drop(client);
        result
    };
    let (result, ended) = tokio::join!(run, connection);
    result?;
    Ok(ended?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_differs_in_the_database_only() {
        let at = |server: &str| TestDatabase { server: server.to_owned(), name: "t".to_owned() };
        let plain = std::mem::ManuallyDrop::new(at("postgres://u:p@127.0.0.1:5/postgres"));
        assert_eq!(plain.url(), "postgres://u:p@127.0.0.1:5/t");
        let with_options = std::mem::ManuallyDrop::new(at("postgres://u@h/postgres?sslmode=disable"));
        assert_eq!(with_options.url(), "postgres://u@h/t?sslmode=disable");
    }
}
