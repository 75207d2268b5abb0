//! # Rig
//!
//! The server that the cases share, and for each case a database of its own, copied from a migrated template.

use engines::postgres::{PostgresOptions, PrivatePostgres, TestDatabase};
use futures_util::future::BoxFuture;
use libtest_mimic::Trial;
use order_service::checkout::limits::{BatchLimits, DeskLimits};
use order_service::checkout::{Checkout, CheckoutParts};
use order_service::outbox::wake_up::WakeUp;
use order_service::settings::{DEFAULTS, Settings};
use order_service::storage::database::Database;
use order_service::storage::migrations;
use service_chassis::settings::{SettingsSource, load_with_environment};
use std::ffi::OsString;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::NoTls;

/// Longer than any case takes; a case that hangs fails by it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Time-outs that a slow machine does not reach. A case shortens the one that it is about, and no other.
pub(crate) const PATIENT: [(&str, &str); 5] = [
    ("DATABASE__ACQUIRE_TIMEOUT", "1m"),
    ("DATABASE__STATEMENT_TIMEOUT", "1m"),
    ("DATABASE__LOCK_TIMEOUT", "1m"),
    ("DATABASE__IDLE_IN_TRANSACTION_TIMEOUT", "1m"),
    ("ORDERS__ANSWER_TIMEOUT", "1m"),
];

/// A case: its name, a sentence, and what it does.
pub(crate) struct Case {
    name: &'static str,
    patience: Duration,
    run: Box<dyn FnOnce(Arc<Rig>) -> BoxFuture<'static, ()> + Send>,
}

/// Makes a case of an async function.
pub(crate) fn case<F>(name: &'static str, run: fn(Arc<Rig>) -> F) -> Case
where
    F: Future<Output = ()> + Send + 'static,
{
    Case { name, patience: PATIENCE, run: Box::new(move |rig| Box::pin(run(rig))) }
}

impl Case {
    /// One that takes longer than others.
    pub(crate) fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) fn into_trial(self, rig: Option<Arc<Rig>>, runtime: Handle) -> Trial {
        Trial::test(self.name, move || {
            let rig = rig.ok_or("no server was started")?;
            runtime.block_on(async {
                timeout(self.patience, (self.run)(rig))
                    .await
                    .map_err(|_| format!("not done after {:?}", self.patience).into())
            })
        })
    }
}

/// Names each case after its function.
#[macro_export]
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn cases() -> Vec<$crate::rig::Case> {
            vec![$($crate::rig::case(stringify!($name), $name)),+]
        }
    };
}

pub(crate) struct Rig {
    server: PrivatePostgres,
    template: TestDatabase,
}

/// A migrated database of one case's own.
pub(crate) struct Shop {
    pub(crate) database: Database,
    pub(crate) own: TestDatabase,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let server = PrivatePostgres::start(PostgresOptions::for_tests()).await.expect("PostgreSQL starts");
        let template = TestDatabase::create(&server.url("postgres")).await.expect("a template database");
        let database = Database::new(&settings(&template.url()).database).expect("settings that work");
        migrations::migrate(&database).await.expect("the migrations apply");
        drop(database);
        Self { server, template }
    }

    pub(crate) async fn stop(self) {
        drop(self.template);
        self.server.stop().await;
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// SIGKILL of the server. Only on a rig of the case's own.
    pub(crate) async fn crash(&self) {
        self.server.crash().await;
    }

    /// A shutdown that tells every client. Only on a rig of the case's own.
    pub(crate) async fn shut_down(&self) {
        self.server.shut_down().await;
    }

    /// The server that was ended again; it recovers what was committed.
    pub(crate) async fn restart(&mut self) {
        self.server.restart().await.expect("PostgreSQL starts again");
    }

    /// A fresh shop: all tables, no rows.
    pub(crate) async fn shop(&self) -> Shop {
        let own = TestDatabase::copy_of(&self.template).await.expect("a copy of the template");
        Shop { database: Database::new(&settings(&own.url()).database).expect("settings that work"), own }
    }

    /// An empty database that was never migrated.
    pub(crate) async fn empty_database(&self) -> TestDatabase {
        TestDatabase::create(&self.server.url("postgres")).await.expect("an empty database")
    }
}

impl Shop {
    pub(crate) fn checkout(&self) -> Checkout {
        checkout_on(self.database.clone())
    }

    /// A session of the test's own, beside the service's.
    pub(crate) async fn session(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.own.url(), NoTls).await.expect("a session");
        tokio::spawn(connection);
        client
    }

    /// The one number that `query` answers.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        self.session().await.query_one(query, &[]).await.expect(query).get(0)
    }

    /// Returns when `query` answers a number other than nought; the case's own limit bounds it.
    pub(crate) async fn until(&self, query: &str) {
        let session = self.session().await;
        while session.query_one(query, &[]).await.expect(query).get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Returns when so many sessions of the service wait for a lock: each has a transaction that has got that far.
    pub(crate) async fn until_locked(&self, waiting: i64) {
        let query = "SELECT (count(*) >= $waiting)::int::bigint FROM pg_stat_activity \
                     WHERE datname = current_database() AND application_name = 'order-service' \
                     AND wait_event_type = 'Lock'";
        self.until(&query.replace("$waiting", &waiting.to_string())).await;
    }

    /// Returns when no session of the service has a transaction.
    pub(crate) async fn until_settled(&self) {
        self.until(
            "SELECT (count(*) = 0)::int::bigint FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'order-service' AND state <> 'idle'",
        )
        .await;
    }

    /// Returns when nobody else is connected; a session that has gone has handed in its counts.
    pub(crate) async fn until_alone(&self) {
        self.until(
            "SELECT (count(*) = 0)::int::bigint FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .await;
    }

    pub(crate) async fn execute(&self, statements: &str) {
        self.session().await.batch_execute(statements).await.expect(statements);
    }

    /// From now on the COMMIT of a transaction that has added to this table waits for the advisory lock 1.
    pub(crate) async fn commits_wait(&self, table: &str) {
        self.execute(&format!(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION wait();"
        ))
        .await;
    }

    /// Products 1, 2, … with these prices and stocks.
    pub(crate) async fn stock(&self, products: &[(i64, i64)]) {
        for (price, on_hand) in products {
            self.execute(&format!(
                "WITH p AS (INSERT INTO product (name) VALUES ('thing') RETURNING id) \
                 INSERT INTO stock SELECT id, {price}, {on_hand} FROM p"
            ))
            .await;
        }
    }
}

/// A checkout whose orders are told to nobody's relay.
pub(crate) fn checkout_on(database: Database) -> Checkout {
    checkout_within(database, PATIENCE)
}

/// One whose buyers wait for no longer than this.
pub(crate) fn checkout_within(database: Database, answer_timeout: Duration) -> Checkout {
    let (wake_up, topic) = (WakeUp::default(), "order-completed".into());
    let batch = BatchLimits { orders: 64, lines: 500 };
    let desk = DeskLimits { workers: 1, queue_orders: 1000, batch };
    Checkout::open(CheckoutParts { database, wake_up, topic, answer_timeout, desk })
}

/// The default settings over this database, but patient: a slow machine is no locked row.
pub(crate) fn settings(database_url: &str) -> Settings {
    settings_but(database_url, &[])
}

/// The same, but for these variables.
pub(crate) fn settings_but(database_url: &str, more: &[(&str, &str)]) -> Settings {
    settings_with(&[PATIENT.as_slice(), &[("DATABASE__URL", database_url)], more].concat())
}

/// The default settings with ports of their own, changed by these variables.
pub(crate) fn settings_with(changes: &[(&str, &str)]) -> Settings {
    let variable = |(name, value): &(&str, &str)| {
        (OsString::from(format!("ORDER_SERVICE__{name}")), OsString::from(*value))
    };
    let ports = [("HTTP__PORT", "0"), ("MANAGEMENT__PORT", "0")];
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: "ORDER_SERVICE", file: None };
    let environment = ports.iter().chain(changes).map(variable);
    load_with_environment(&source, environment).expect("settings that work").settings
}
