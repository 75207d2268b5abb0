//! The private PostgreSQL and databases on it.

use engines::postgres::{PostgresOptions, PrivatePostgres, TestDatabase};
use tokio_postgres::{Client, NoTls};

use crate::{Outcome, victim};

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn one(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.expect(query).get(0)
}

/// It serves as it was asked to, to those who know the password, and goes with its folder.
pub(crate) async fn serves_and_goes() -> Outcome {
    let server = PrivatePostgres::start(PostgresOptions::default()).await?;
    let client = connect(&server.url("postgres")).await?;
    assert_eq!(one(&client, "SHOW server_encoding").await, "UTF8");
    assert_eq!(one(&client, "SHOW lc_collate").await, "C");
    assert_eq!(one(&client, "SHOW timezone").await, "UTC");
    assert_eq!(one(&client, "SHOW fsync").await, "on");
    let stranger = server.url("postgres").replacen(':', ":x", 2).replacen(":x", ":", 1);
    assert!(connect(&stranger).await.is_err(), "a wrong password is refused");
    let folder = server.folder().to_path_buf();
    server.stop().await;
    assert!(!folder.exists());
    Ok(())
}

/// SIGKILL of the server, and the same folder and port again.
pub(crate) async fn comes_back() -> Outcome {
    let mut server = PrivatePostgres::start(PostgresOptions::default()).await?;
    let client = connect(&server.url("postgres")).await?;
    client.batch_execute("CREATE TABLE kept (text text); INSERT INTO kept VALUES ('committed')").await?;
    server.crash().await;
    // Our backend is a process of its own, which ends when it next looks whether the server lives.
    while client.batch_execute("SELECT 1").await.is_ok() {}
    server.restart().await?;
    let client = connect(&server.url("postgres")).await?;
    assert_eq!(one(&client, "SELECT text FROM kept").await, "committed");
    server.stop().await;
    Ok(())
}

/// A template's tables are in the copy; dropped databases are gone, connected to or not.
pub(crate) async fn copies() -> Outcome {
    let server = PrivatePostgres::start(PostgresOptions::for_tests()).await?;
    let template = TestDatabase::create(&server.url("postgres")).await?;
    {
        let (client, connection) = tokio_postgres::connect(&template.url(), NoTls).await?;
        let connection = tokio::spawn(connection);
        client.batch_execute("CREATE TABLE here (text text); INSERT INTO here VALUES ('copied')").await?;
        drop(client);
        connection.await??;
    }
    let (one_copy, other_copy) =
        tokio::try_join!(TestDatabase::copy_of(&template), TestDatabase::copy_of(&template))?;
    assert_ne!(one_copy.name(), other_copy.name());
    let client = connect(&one_copy.url()).await?;
    assert_eq!(one(&client, "SELECT text FROM here").await, "copied");
    drop((one_copy, other_copy, template));
    let client = connect(&server.url("postgres")).await?;
    assert_eq!(one(&client, "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'test%'").await, "0");
    server.stop().await;
    Ok(())
}

/// `PG_BIN_DIR` is an order, not a hint.
pub(crate) fn named_folder() {
    let said = victim::start("plain", &[("PG_BIN_DIR", "/no/such/folder")]).err().unwrap_or_default();
    assert_eq!(
        said,
        "PG_BIN_DIR=/no/such/folder has no usable PostgreSQL 15 or newer (no postgres): correct it or unset it"
    );
}
