//! The server that the cases share, and for each case a database of its own.

use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use data_platform_consumer::settings::{DEFAULTS, ENVIRONMENT_PREFIX, Settings};
use data_platform_consumer::sink::postgres::{self, PostgresSink, PostgresSinkSettings};
use engines::postgres::{PostgresOptions, PrivatePostgres, TestDatabase};
use libtest_mimic::Trial;
use service_chassis::settings::{SettingsSource, load_with_environment};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::{NoTls, Row};

/// Longer than any case takes; a case that hangs fails by it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Stays on its thread: a mock cluster must.
type Running = Pin<Box<dyn Future<Output = ()>>>;

/// A case: its name, a sentence, and what it does.
pub(crate) struct Case {
    name: &'static str,
    run: Box<dyn FnOnce(Arc<Rig>) -> Running + Send>,
}

/// Makes a case of an async function.
pub(crate) fn case<F>(name: &'static str, run: fn(Arc<Rig>) -> F) -> Case
where
    F: Future<Output = ()> + 'static,
{
    Case { name, run: Box::new(move |rig| Box::pin(run(rig))) }
}

impl Case {
    pub(crate) fn into_trial(self, rig: Option<Arc<Rig>>, runtime: Handle) -> Trial {
        Trial::test(self.name, move || {
            let rig = rig.ok_or("no server was started")?;
            runtime.block_on(async {
                let ended = timeout(PATIENCE, (self.run)(rig)).await;
                ended.map_err(|_| format!("not done after {PATIENCE:?}").into())
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
}

/// A database of one case's own.
pub(crate) struct Platform {
    own: TestDatabase,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let server = PrivatePostgres::start(PostgresOptions::for_tests()).await.expect("PostgreSQL starts");
        Self { server }
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    /// One without the table.
    pub(crate) async fn empty_platform(&self) -> Platform {
        let own = TestDatabase::create(&self.server.url("postgres")).await.expect("an empty database");
        Platform { own }
    }

    /// One with the table.
    pub(crate) async fn platform(&self) -> Platform {
        let platform = self.empty_platform().await;
        postgres::prepare(&platform.settings(&[])).await.unwrap();
        platform
    }
}

impl Platform {
    pub(crate) fn url(&self) -> String {
        self.own.url()
    }

    /// `HOST:PORT` of its server.
    pub(crate) fn place(&self) -> String {
        let url = self.url();
        let (_, behind_user) = url.rsplit_once('@').unwrap();
        behind_user.split('/').next().unwrap().to_owned()
    }

    /// The default settings over this database, patient and on one session, but for these.
    pub(crate) fn settings(&self, changes: &[(&str, &str)]) -> PostgresSinkSettings {
        let url = self.url();
        let patient = [
            ("URL", url.as_str()),
            ("CONNECTIONS", "1"),
            ("STATEMENT_TIMEOUT", "1m"),
            ("CONNECT_TIMEOUT", "1m"),
        ];
        settings(&[&patient, changes].concat())
    }

    pub(crate) fn sink(&self, changes: &[(&str, &str)]) -> Arc<PostgresSink> {
        Arc::new(PostgresSink::new(&self.settings(changes)).unwrap())
    }

    /// A session of the test's own.
    pub(crate) async fn session(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.expect("a session");
        tokio::spawn(connection);
        client
    }

    pub(crate) async fn execute(&self, statements: &str) {
        self.session().await.batch_execute(statements).await.expect(statements);
    }

    pub(crate) async fn rows(&self, query: &str) -> Vec<Row> {
        self.session().await.query(query, &[]).await.expect(query)
    }

    /// The one number that `query` answers.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        self.rows(query).await[0].get(0)
    }
}

/// The default settings but for these.
pub(crate) fn settings(changes: &[(&str, &str)]) -> PostgresSinkSettings {
    let variables = changes.iter().map(|(name, value)| {
        (OsString::from(format!("{ENVIRONMENT_PREFIX}__SINK__POSTGRES__{name}")), OsString::from(*value))
    });
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
    load_with_environment::<Settings>(&source, variables).unwrap().settings.sink.postgres
}
