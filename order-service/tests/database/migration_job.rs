//! What `order-service migrate` waits for, what it refuses at once, and what it says then.

use crate::cases;
use crate::rig::{Rig, settings_with};
use order_service::migration_job::{self, MigrationJobError};
use order_service::storage::database::Database;
use order_service::storage::migrations;
use service_chassis::exit::sentence;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

cases!(
    a_database_that_comes_later_is_waited_for_and_migrated,
    a_database_that_never_comes_is_given_up_with_its_address_and_without_its_password,
    a_wrong_password_role_or_database_is_refused_at_once_with_what_to_do,
    a_pooler_that_drops_what_a_session_promises_is_refused_at_once,
    a_database_of_a_newer_version_is_not_taken_for_up_to_date,
);

async fn migrate(url: &str, wait: &str) -> Result<(), MigrationJobError> {
    let changes =
        [("DATABASE__URL", url), ("DATABASE__WAIT_TIMEOUT", wait), ("DATABASE__ACQUIRE_TIMEOUT", "10s")];
    migration_job::run(&settings_with(&changes).database).await
}

/// The part between the last @ and the path.
fn address(url: &str) -> &str {
    url.rsplit_once('@').unwrap().1.split('/').next().unwrap()
}

async fn a_database_that_comes_later_is_waited_for_and_migrated(rig: Arc<Rig>) {
    let database = rig.empty_database().await;
    let url = database.url();
    let server = address(&url).to_owned();
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through_gate = url.replace(&server, &gate.local_addr().unwrap().to_string());
    let opening = tokio::spawn(async move {
        // It hangs up on the first three, as a server does that is just starting.
        for _ in 0..3 {
            drop(gate.accept().await.unwrap());
        }
        loop {
            let (mut client, _) = gate.accept().await.unwrap();
            let mut server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await.ok() });
        }
    });
    migrate(&through_gate, "1m").await.unwrap();
    opening.abort();
    let settings = settings_with(&[("DATABASE__URL", &url)]);
    migrations::check(&Database::new(&settings.database).unwrap()).await.unwrap();
}

async fn a_database_that_never_comes_is_given_up_with_its_address_and_without_its_password(_rig: Arc<Rig>) {
    let told = sentence(&migrate("postgres://shop:sesame@127.0.0.1:1/orders", "300ms").await.unwrap_err());
    assert!(told.contains("postgres://shop:(hidden)@127.0.0.1:1/orders"), "{told}");
    assert!(told.contains("start it, or correct database.url"), "{told}");
    assert!(!told.contains("sesame"), "{told}");
}

async fn a_wrong_password_role_or_database_is_refused_at_once_with_what_to_do(rig: Arc<Rig>) {
    let url = rig.empty_database().await.url();
    let (root, name) = url.rsplit_once('/').unwrap();
    let (_, address) = url.rsplit_once('@').unwrap();
    let (user, _) = url.trim_start_matches("postgres://").split_once(':').unwrap();
    for (wrong, cure) in [
        (format!("{root}/no-such-database"), "create the database"),
        (format!("postgres://{user}:wrong@{address}"), "the user or the password of database.url is wrong"),
        (format!("postgres://nobody:wrong@{address}"), "the user or the password of database.url is wrong"),
    ] {
        let begin = Instant::now();
        let error = migrate(&wrong, "1m").await.unwrap_err();
        let told = sentence(&error);
        assert!(matches!(error, MigrationJobError::Refused { .. }), "{name}: {told}");
        assert!(told.contains(cure) && !told.contains("wrong@"), "{told}");
        assert!(begin.elapsed().as_secs() < 30, "it must not be waited for");
    }
}

/// As PgBouncer does with `ignore_startup_parameters = options`: the server's session is not the one that was asked for.
async fn a_pooler_that_drops_what_a_session_promises_is_refused_at_once(rig: Arc<Rig>) {
    const MARK: &[u8] = b"order_service.session=direct";
    const OTHER: &[u8] = b"order_service.session=pooled";
    let database = rig.empty_database().await;
    let url = database.url();
    let server = address(&url).to_owned();
    let pooler = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through_pooler = url.replace(&server, &pooler.local_addr().unwrap().to_string());
    let pooling = tokio::spawn(async move {
        loop {
            let (mut client, _) = pooler.accept().await.unwrap();
            let mut server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move {
                let mut startup = Vec::new();
                let place = loop {
                    client.read_buf(&mut startup).await.unwrap();
                    if let Some(place) = startup.windows(MARK.len()).position(|bytes| bytes == MARK) {
                        break place;
                    }
                };
                startup[place..place + MARK.len()].copy_from_slice(OTHER);
                server.write_all(&startup).await.unwrap();
                copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    let begin = Instant::now();
    let error = migrate(&through_pooler, "1m").await.unwrap_err();
    pooling.abort();
    let told = sentence(&error);
    assert!(matches!(error, MigrationJobError::Refused { .. }), "{told}");
    assert!(told.contains("name PostgreSQL itself in database.url"), "{told}");
    assert!(begin.elapsed().as_secs() < 30, "it must not be waited for");
}

async fn a_database_of_a_newer_version_is_not_taken_for_up_to_date(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')").await;
    let told = sentence(&migrate(&shop.own.url(), "1m").await.unwrap_err());
    assert!(told.contains("migrated by a newer version; run that one"), "{told}");
}
