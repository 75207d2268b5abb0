//! # The servers of the stack
//!
//! A private PostgreSQL and a broker in memory, or a person's own. Both private ones are equally temporary:
//! a kept order would belong to a broker that forgot it.

use std::sync::Arc;
use std::time::Duration;

use engines::kafka::{BrokerError, BrokerProcess};
use engines::postgres::{PostgresError, PostgresOptions, PrivatePostgres};
use tokio_postgres::NoTls;

use crate::arguments::Arguments;
use crate::console::Console;
use crate::kafka_topic::{self, TopicError};
use crate::services::{PARTITIONS, TOPIC};

const BROKERS: u16 = 3;
const DATABASE: &str = "orders";
const GROUP: &str = "data-platform-consumer";
const OWN_KAFKA_GROUP: &str = "local-stack";
const CONNECT: Duration = Duration::from_secs(10);

/// What the services are told.
#[derive(Clone, Debug)]
pub struct ServerAddresses {
    /// Password included.
    pub database_url: String,
    /// As the setting `bootstrap.servers` wants them.
    pub bootstrap_servers: String,
    /// The consumers' group. On somebody's own Kafka not the services' own: a group of that name may be at
    /// work there, and would share its partitions with us.
    pub group_id: &'static str,
}

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// The private PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The database in it.
    #[error("cannot create the database in the private PostgreSQL: {0}")]
    Database(#[source] tokio_postgres::Error),
    /// The person's own PostgreSQL.
    #[error(
        "cannot reach the database of --database-url: {0}; check the address, the password and that it runs"
    )]
    OwnDatabase(String),
    /// Its events would be lost.
    #[error(
        "the database of --database-url has {0} events that were not published yet: name their Kafka with --kafka, as \
         a broker in memory would take them and forget them"
    )]
    Unpublished(i64),
    /// The broker in memory.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The person's own Kafka.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// What was started, and where it is reached.
#[derive(Debug)]
pub struct Servers {
    /// Where everything is.
    pub addresses: ServerAddresses,
    postgres: Option<PrivatePostgres>,
    broker: Option<BrokerProcess>,
}

impl Servers {
    /// Starts what the arguments do not name, and looks at what they do.
    pub async fn start(arguments: &Arguments, console: &Console) -> Result<Self, ServersError> {
        let (database, broker) = tokio::join!(database(arguments, console), broker(arguments));
        let ((postgres, database_url), (broker, bootstrap_servers)) = (database?, broker?);
        let group_id = if broker.is_some() { GROUP } else { OWN_KAFKA_GROUP };
        Ok(Self {
            addresses: ServerAddresses { database_url, bootstrap_servers, group_id },
            postgres,
            broker,
        })
    }

    /// Tells a person what they have.
    pub fn describe(&self, console: &Console) {
        match &self.postgres {
            Some(postgres) => console.fact(
                "PostgreSQL",
                &format!("{}, private, from {}", postgres.version(), postgres.binaries().display()),
            ),
            None => console.fact("PostgreSQL", "the one of --database-url"),
        }
        match &self.broker {
            Some(_) => {
                console.fact(
                    "broker",
                    "in memory: three brokers of librdkafka's mock cluster. They speak Kafka's",
                );
                console.fact("", "protocol, but keep at most 5 MiB a partition and nothing across runs");
            }
            None => console.fact("broker", &format!("Kafka at {}", self.addresses.bootstrap_servers)),
        }
    }

    /// Whether database and topic began empty with this run.
    pub fn both_are_new(&self) -> bool {
        self.postgres.is_some() && self.broker.is_some()
    }

    /// Returns, with a sentence, when a server has ended that nobody stopped.
    pub async fn ended(&self) -> String {
        let postgres = async {
            match &self.postgres {
                Some(postgres) => postgres.ended().await,
                None => std::future::pending().await,
            }
        };
        let broker = async {
            match &self.broker {
                Some(broker) => broker.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            log = postgres => {
                let last = log.rsplit(" | ").next().unwrap_or_default();
                format!("PostgreSQL has ended, and with it what it kept: {last}")
            }
            () = broker => "the broker in memory has ended, and with it what it kept".to_owned(),
        }
    }

    /// Ends what was started.
    pub async fn stop(self) {
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await;
        }
    }
}

async fn database(
    arguments: &Arguments,
    console: &Console,
) -> Result<(Option<PrivatePostgres>, String), ServersError> {
    if let Some(url) = &arguments.database_url {
        let unpublished = look_at(url).await?;
        if unpublished > 0 && arguments.kafka.is_none() {
            return Err(ServersError::Unpublished(unpublished));
        }
        return Ok((None, url.clone()));
    }
    let console = console.clone();
    let progress = Arc::new(move |text: &str| console.progress(text));
    let postgres = PrivatePostgres::start(PostgresOptions { progress, ..PostgresOptions::default() }).await?;
    let (client, connection) =
        tokio_postgres::connect(&postgres.url("postgres"), NoTls).await.map_err(ServersError::Database)?;
    tokio::spawn(connection);
    client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await.map_err(ServersError::Database)?;
    let url = postgres.url(DATABASE);
    Ok((Some(postgres), url))
}

/// Whether somebody's own database can be reached, and how many events wait in it.
async fn look_at(url: &str) -> Result<i64, ServersError> {
    let looked = tokio::time::timeout(CONNECT, unpublished(url)).await;
    let slow = |_| ServersError::OwnDatabase(format!("no answer within {} s", CONNECT.as_secs()));
    looked.map_err(slow)?.map_err(|error| {
        // The error's own text hides the cause, such as a refused connection.
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        ServersError::OwnDatabase(cause.unwrap_or_else(|| error.to_string()))
    })
}

async fn unpublished(url: &str) -> Result<i64, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let migrated = client.query_one("SELECT to_regclass('outbox') IS NOT NULL", &[]).await?;
    if !migrated.try_get(0)? {
        return Ok(0);
    }
    client.query_one("SELECT count(*) FROM outbox", &[]).await?.try_get(0)
}

async fn broker(arguments: &Arguments) -> Result<(Option<BrokerProcess>, String), ServersError> {
    if let Some(own) = &arguments.kafka {
        kafka_topic::ensure(own, TOPIC, PARTITIONS).await?;
        return Ok((None, own.clone()));
    }
    let broker = BrokerProcess::start(BROKERS)?;
    broker.create_topic(TOPIC, PARTITIONS, i32::from(BROKERS))?;
    let bootstrap_servers = broker.bootstrap_servers();
    Ok((Some(broker), bootstrap_servers))
}
