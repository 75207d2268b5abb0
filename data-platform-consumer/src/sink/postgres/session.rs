//! # Sessions
//!
//! A session commits durably, gives up a statement that takes too long, and is PostgreSQL's own: one through a pooler
//! that hands sessions round would meet another client's prepared statements. It is known by a mark that it is started with.

use std::future::Future;
use std::time::Duration;

use service_chassis::exit;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, Error, NoTls, Statement};

use super::failure::{self, POOLER};
use super::table::{CREATE, Columns, LOOK, Row, TABLE, WRITE};
use super::{NotTaken, PostgresSinkSettings};
use crate::sink::{DeliveryFailure, SinkRefused};

const MARK: &str = "data_platform_consumer.session";
/// How much longer than the server's own limit a statement is waited for: the server may be frozen.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// A session, ready to write.
pub(super) struct Session {
    client: Client,
    write: Statement,
    /// Drives the connection for as long as there is a session.
    _driver: Driver,
}

/// What drives a connection. It ends with whoever holds it: a connection whose server is silent would wait for it.
pub(super) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What every session is started with.
pub(super) fn config(settings: &PostgresSinkSettings) -> Result<Config, SinkRefused> {
    let mut config: Config = settings
        .url
        .expose()
        .parse()
        .map_err(|error: Error| SinkRefused::new("sink.postgres.url", exit::sentence(&error)))?;
    // What is there already, which `sink prepare` expects, is a NOTICE.
    let options = format!(
        "{} -c synchronous_commit=on -c client_min_messages=warning -c statement_timeout={} -c {MARK}=direct",
        config.get_options().unwrap_or_default(),
        settings.statement_timeout.as_millis(),
    );
    config.options(options.trim_start());
    config.connect_timeout(settings.connect_timeout);
    config.keepalives_idle(Duration::from_secs(10));
    config.tcp_user_timeout(Duration::from_secs(10));
    if config.get_application_name().is_none() {
        config.application_name("data-platform-consumer");
    }
    Ok(config)
}

/// Opens a session with the statement prepared.
pub(super) async fn open(config: &Config, limit: Duration) -> Result<Session, DeliveryFailure> {
    let opened = async {
        let (client, driver) = connect(config).await?;
        let write = client.prepare(WRITE).await.map_err(|error| failure::of(&error).into_failure())?;
        Ok(Session { client, write, _driver: driver })
    };
    within(limit, opened).await
}

/// Creates the table, and sees whether it can be written to.
pub(super) async fn prepare_table(
    config: &Config,
    connect_timeout: Duration,
    statement_timeout: Duration,
) -> Result<(), DeliveryFailure> {
    let (client, _driver) = connect_within(config, connect_timeout).await?;
    let created = async {
        client.batch_execute(CREATE).await?;
        client.prepare(WRITE).await
    };
    let created = async { created.await.map_err(|error| failure::of(&error).into_failure()) };
    let outcome = within(statement_timeout + ANSWER_MARGIN, created).await;
    outcome.map(drop)
}

/// A session for other statements, and its driver, which is to be held as long.
pub(super) async fn connect_within(
    config: &Config,
    limit: Duration,
) -> Result<(Client, Driver), DeliveryFailure> {
    within(limit, connect(config)).await
}

async fn connect(config: &Config) -> Result<(Client, Driver), DeliveryFailure> {
    let refused = |error: Error| failure::of(&error).into_failure();
    let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
    // How it ends is heard by the statement that it was to carry.
    let driver = Driver(tokio::spawn(async move { connection.await.unwrap_or_default() }));
    let mark = client.query_one("SELECT current_setting($1, true)", &[&MARK]).await.map_err(refused)?;
    if mark.try_get::<_, Option<&str>>(0).ok().flatten() != Some("direct") {
        return Err(DeliveryFailure::misconfigured(POOLER));
    }
    Ok((client, driver))
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, DeliveryFailure>>,
) -> Result<T, DeliveryFailure> {
    let silent =
        || Err(DeliveryFailure::unavailable(format!("the database did not answer within {limit:?}")));
    timeout(limit, work).await.unwrap_or_else(|_| silent())
}

impl Session {
    pub(super) fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// All of the rows, or none.
    pub(super) async fn write(&self, rows: &[Row], statement_timeout: Duration) -> Result<(), NotTaken> {
        let columns = Columns::of(rows);
        let parameters = columns.parameters();
        let limit = statement_timeout + ANSWER_MARGIN;
        match timeout(limit, self.client.execute(&self.write, &parameters)).await {
            Ok(Ok(written)) if usize::try_from(written).is_ok_and(|it| it == columns.rows_to_write()) => {
                Ok(())
            }
            Ok(Ok(_)) => Err(self.not_all_written(rows, limit).await),
            Ok(Err(error)) => Err(failure::of(&error)),
            Err(_) => {
                let silent = format!("the database did not answer within {limit:?}");
                Err(NotTaken::Whatever(DeliveryFailure::unavailable(silent)))
            }
        }
    }
}

impl Session {
    /// Why the database has written fewer rows than it was given. What is missing is found by halving the batch.
    async fn not_all_written(&self, rows: &[Row], limit: Duration) -> NotTaken {
        let [row] = rows else {
            return NotTaken::OneOfThem(DeliveryFailure::rejected("some rows were not written"));
        };
        match timeout(limit, self.client.query_opt(LOOK, &[&row.key()])).await {
            Ok(Ok(Some(_))) => NotTaken::OneOfThem(DeliveryFailure::rejected(format!(
                "the row of {TABLE} under its key {} is another order's",
                row.key()
            ))),
            Ok(Ok(None)) => NotTaken::Whatever(DeliveryFailure::misconfigured(format!(
                "a row of {TABLE} was not written, though nothing was refused: a trigger or a rule of the table drops it"
            ))),
            Ok(Err(error)) => failure::of(&error),
            Err(_) => NotTaken::Whatever(DeliveryFailure::unavailable("the database did not answer")),
        }
    }
}
