//! # The servers of a run
//!
//! One private PostgreSQL with `fsync` on, and one broker in memory or somebody's real ones. Whatever is measured gets a database of its own,
//! a copy of one that is migrated and stocked: no measure finds the rows that another left.

use crate::command_line::KafkaOptions;
use crate::{Failure, service};
use engines::kafka::BrokerProcess;
use engines::postgres::{PostgresOptions, PrivatePostgres, TestDatabase};
use order_service::settings::{DEFAULTS, ENVIRONMENT_PREFIX, Settings};
use rustix::process::{Pid, Signal, kill_process};
use service_chassis::settings::{SettingsSource, load_with_environment};
use std::ffi::OsString;
use tokio_postgres::NoTls;

/// As the real ones: three brokers, so that the topic has the replicas that order-service wants of it.
const BROKERS: u16 = 3;
const PARTITIONS: i32 = 12;
/// For settings of which only Kafka's part is looked at.
const NO_DATABASE: &str = "postgres://nobody@127.0.0.1/none";
/// Products in the template, numbered from 1; product 1 is the hot one.
pub(crate) const PRODUCTS: u64 = 1_000;

/// What the events go to.
pub(crate) enum Broker {
    /// librdkafka's mock cluster in a process of its own.
    InMemory(BrokerProcess),
    /// Real brokers, and their processes as far as they are known.
    Real {
        /// Where they are.
        bootstrap_servers: String,
        /// Their ids.
        processes: Vec<i32>,
    },
}

impl Broker {
    async fn start(options: &KafkaOptions) -> Result<Self, Failure> {
        let Some(bootstrap_servers) = options.bootstrap_servers.clone() else {
            let broker = BrokerProcess::start(BROKERS)?;
            broker.create_topic(shared_topic(), PARTITIONS, i32::from(BROKERS))?;
            return Ok(Self::InMemory(broker));
        };
        let mut settings = settings(NO_DATABASE)?;
        settings.kafka.bootstrap_servers.clone_from(&bootstrap_servers);
        settings.topics.accept_less = true;
        order_service::kafka::topics::ensure(&settings.kafka, &settings.topics).await?;
        Ok(Self::Real { bootstrap_servers, processes: options.broker_process.clone() })
    }

    /// As a table says it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::InMemory(_) => "librdkafka's mock cluster in a process of its own",
            Self::Real { .. } => "a real Kafka",
        }
    }

    /// The addresses, as the setting `bootstrap.servers` wants them.
    pub(crate) fn bootstrap_servers(&self) -> String {
        match self {
            Self::InMemory(broker) => broker.bootstrap_servers(),
            Self::Real { bootstrap_servers, .. } => bootstrap_servers.clone(),
        }
    }

    /// The processes whose time counts as the broker's.
    pub(crate) fn ids(&self) -> Vec<i32> {
        match self {
            Self::InMemory(broker) => vec![broker.id()],
            Self::Real { processes, .. } => processes.clone(),
        }
    }

    /// SIGSTOP to all of its processes.
    pub(crate) fn freeze(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT to all of them.
    pub(crate) fn thaw(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let ids = self.ids();
        if ids.is_empty() && signal == Signal::STOP {
            return Err("which processes are the brokers? name each with --broker-process ID".into());
        }
        for id in ids {
            let process = Pid::from_raw(id).ok_or("0 is no process")?;
            kill_process(process, signal)
                .map_err(|error| format!("process {id} takes no signal: {error}"))?;
        }
        Ok(())
    }
}

/// PostgreSQL and broker.
pub(crate) struct Servers {
    template: TestDatabase,
    /// Where events go.
    pub(crate) broker: Broker,
    /// The database server.
    pub(crate) postgres: PrivatePostgres,
}

impl Servers {
    /// Starts both and stocks the template.
    pub(crate) async fn start(options: &KafkaOptions) -> Result<Self, Failure> {
        let broker = Broker::start(options).await?;
        let postgres = PrivatePostgres::start(PostgresOptions::default()).await?;
        let template = TestDatabase::create(&postgres.url("postgres")).await?;
        stock(&template).await?;
        Ok(Self { template, broker, postgres })
    }

    /// A stocked database without orders.
    pub(crate) async fn shop(&self) -> Result<TestDatabase, Failure> {
        Ok(TestDatabase::copy_of(&self.template).await?)
    }

    /// Ends both.
    pub(crate) async fn stop(self) {
        drop(self.template);
        // Processes that are gone are not frozen.
        self.broker.thaw().ok();
        if let Broker::InMemory(broker) = self.broker {
            broker.stop().await;
        }
        self.postgres.stop().await;
    }
}

fn shared_topic() -> &'static str {
    "order-completed"
}

/// order-service's default settings over this database, for what runs in this process.
pub(crate) fn settings(database_url: &str) -> Result<Settings, Failure> {
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
    let url = (OsString::from("ORDER_SERVICE__DATABASE__URL"), OsString::from(database_url));
    Ok(load_with_environment(&source, [url])?.settings)
}

async fn stock(template: &TestDatabase) -> Result<(), Failure> {
    service::migrate(template.url()).await?;
    let (client, connection) = tokio_postgres::connect(&template.url(), NoTls).await?;
    let stocked = async move {
        let products = format!(
            "INSERT INTO product (name) SELECT 'product ' || n FROM generate_series(1, {PRODUCTS}) AS n; \
             INSERT INTO stock SELECT id, 1000, 1000000000 FROM product"
        );
        client.batch_execute(&products).await?;
        // By itself: VACUUM refuses to run among other statements. CHECKPOINT, so that no measure pays for it.
        client.batch_execute("VACUUM (ANALYZE)").await?;
        client.batch_execute("CHECKPOINT").await
    };
    let (stocked, ended) = tokio::join!(stocked, connection);
    stocked?;
    Ok(ended?)
}
