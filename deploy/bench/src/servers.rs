//! # The servers of a run
//!
//! One private PostgreSQL with `fsync` on and one broker in memory. Whatever is measured gets a database of its own,
//! a copy of one that is migrated and stocked: no measure finds the rows that another left.

use crate::{Failure, service};
use engines::kafka::BrokerProcess;
use engines::postgres::{PostgresOptions, PrivatePostgres, TestDatabase};
use order_service::settings::{DEFAULTS, ENVIRONMENT_PREFIX, Settings};
use service_chassis::settings::{SettingsSource, load_with_environment};
use std::ffi::OsString;
use tokio_postgres::NoTls;

/// As the real ones: three brokers, so that the topic has the replicas that order-service wants of it.
const BROKERS: u16 = 3;
const PARTITIONS: i32 = 12;
/// Products in the template, numbered from 1; product 1 is the hot one.
pub(crate) const PRODUCTS: u64 = 1_000;

/// PostgreSQL and broker.
pub(crate) struct Servers {
    template: TestDatabase,
    /// The broker in memory.
    pub(crate) broker: BrokerProcess,
    /// The database server.
    pub(crate) postgres: PrivatePostgres,
}

impl Servers {
    /// Starts both and stocks the template.
    pub(crate) async fn start() -> Result<Self, Failure> {
        let postgres = PrivatePostgres::start(PostgresOptions::default()).await?;
        let broker = BrokerProcess::start(BROKERS)?;
        broker.create_topic(shared_topic(), PARTITIONS, i32::from(BROKERS))?;
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
        self.broker.thaw();
        self.broker.stop().await;
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
