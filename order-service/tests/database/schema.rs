//! The schema that diesel sees is the one that the migrations make.

use crate::cases;
use crate::rig::{Rig, settings, settings_with};
use order_service::startup::Service;
use order_service::storage::database::Database;
use order_service::storage::migrations::{self, MigrationError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

cases!(
    the_schema_file_is_the_migrated_database,
    a_database_that_was_never_migrated_is_refused_with_what_to_do,
    a_service_waits_for_a_database_that_is_migrated_later,
    a_database_of_a_newer_version_is_refused,
    migrating_twice_changes_nothing,
    a_row_of_the_outbox_that_nobody_would_read_is_refused,
);

const COLUMNS: &str = "
    SELECT table_name || '.' || column_name || ' ' || udt_name || ' ' || is_nullable
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> '__diesel_schema_migrations'";

async fn the_schema_file_is_the_migrated_database(rig: Arc<Rig>) {
    let rows = rig.shop().await.session().await.query(COLUMNS, &[]).await.unwrap();
    let migrated: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(declared(include_str!("../../src/storage/schema.rs")), migrated);
}

/// The columns of the `table!` declarations, in the words of the query.
fn declared(schema: &str) -> BTreeSet<String> {
    let mut table = "";
    let mut columns = BTreeSet::new();
    for line in schema.lines().map(str::trim) {
        if let Some((column, sql_type)) = line.trim_end_matches(',').split_once(" -> ") {
            if line.ends_with(',') {
                columns.insert(format!("{table}.{column} {}", postgres_type(sql_type)));
            }
        } else if let Some((name, _)) = line.split_once(" (").filter(|_| line.ends_with('{')) {
            table = name;
        }
    }
    columns
}

fn postgres_type(sql_type: &str) -> String {
    let (inner, nullable) = match sql_type.strip_prefix("Nullable<") {
        Some(inner) => (inner.trim_end_matches('>'), "YES"),
        None => (sql_type, "NO"),
    };
    let name = match inner {
        "BigInt" => "int8",
        "Integer" => "int4",
        "Text" => "text",
        "Timestamptz" => "timestamptz",
        "Interval" => "interval",
        "Binary" => "bytea",
        "Uuid" => "uuid",
        "Jsonb" => "jsonb",
        other => other,
    };
    format!("{name} {nullable}")
}

async fn a_database_that_was_never_migrated_is_refused_with_what_to_do(rig: Arc<Rig>) {
    let empty = rig.empty_database().await;
    let database = Database::new(&settings(&empty.url()).database).unwrap();
    let error = migrations::check(&database).await.unwrap_err();
    assert!(matches!(error, MigrationError::Behind(_)), "{error:?}");
    assert!(error.to_string().contains("run `order-service migrate` first"), "{error}");
    let tables = "SELECT count(*)::bigint FROM information_schema.tables WHERE table_schema = 'public'";
    let session = tokio_postgres::connect(&empty.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(session.1);
    let tables: i64 = session.0.query_one(tables, &[]).await.unwrap().get(0);
    assert_eq!(tables, 0, "a look must not write");
}

/// A deployment may start the service before the job that migrates.
async fn a_service_waits_for_a_database_that_is_migrated_later(rig: Arc<Rig>) {
    let empty = rig.empty_database().await;
    let url = empty.url();
    let settings = settings_with(&[
        ("DATABASE__URL", &url),
        ("KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("RELAY__ENABLED", "false"),
    ]);
    let database = Database::new(&settings.database).unwrap();
    let mut build = Box::pin(Service::build(settings));
    let early = timeout(Duration::from_secs(1), &mut build).await;
    assert!(early.is_err(), "it neither started nor gave up");
    migrations::migrate(&database).await.unwrap();
    let service = build.await.map_err(|error| error.to_string()).unwrap();
    service.run_until_stopped(async {}).await.unwrap();
}

async fn a_database_of_a_newer_version_is_refused(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')").await;
    let error = migrations::check(&shop.database).await.unwrap_err();
    assert!(matches!(error, MigrationError::Ahead(_)), "{error:?}");
}

async fn migrating_twice_changes_nothing(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    assert_eq!(migrations::migrate(&shop.database).await.unwrap(), Vec::<String>::new());
    migrations::check(&shop.database).await.unwrap();
}

async fn a_row_of_the_outbox_that_nobody_would_read_is_refused(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let session = shop.session().await;
    for (seq, is_taken) in [(i64::MIN, false), (0, false), (1, true)] {
        let row = format!(
            "INSERT INTO outbox (seq, topic, key, event_id, payload, headers) OVERRIDING SYSTEM VALUE \
             VALUES ({seq}, 'order-completed', 'k', gen_random_uuid(), '0', '{{}}')"
        );
        assert_eq!(session.execute(&row, &[]).await.is_ok(), is_taken, "{seq}");
    }
}
