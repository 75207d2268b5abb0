//! # The local stack's engines
//!
//! PostgreSQL and the mock cluster on this machine, without containers.

use engines::kafka::BrokerProcess;
use engines::postgres::{PostgresOptions, PrivatePostgres};

use super::{Kafka, Servers, ServersError};

const BROKERS: u16 = 3;

pub(crate) struct LocalServers {
    postgres: PrivatePostgres,
    kafka: BrokerProcess,
}

impl LocalServers {
    pub(crate) async fn start() -> Result<Self, ServersError> {
        let postgres = PrivatePostgres::start(PostgresOptions::for_tests()).await?;
        Ok(Self { postgres, kafka: BrokerProcess::start(BROKERS)? })
    }
}

impl Servers for LocalServers {
    fn describe(&self) -> String {
        format!(
            "PostgreSQL {} (private) and librdkafka's mock cluster, {BROKERS} brokers in memory, NOT on a real Kafka",
            self.postgres.version()
        )
    }

    fn postgres(&self) -> String {
        self.postgres.url("postgres")
    }

    fn kafka(&self) -> &dyn Kafka {
        &self.kafka
    }

    fn own_kafka(&self) -> Box<dyn Kafka> {
        Box::new(BrokerProcess::start(BROKERS).unwrap_or_else(|error| panic!("{error}")))
    }
}

impl Kafka for BrokerProcess {
    fn bootstrap_servers(&self) -> String {
        BrokerProcess::bootstrap_servers(self)
    }

    fn create_topic(&self, name: &str, partitions: i32) {
        BrokerProcess::create_topic(self, name, partitions, i32::from(BROKERS)).expect("a topic");
    }

    /// For each join the mock cluster takes a second less than a session.
    fn long_session(&self) -> &'static str {
        "6s"
    }

    fn all_down(&self) {
        BrokerProcess::all_down(self).expect("the broker obeys");
    }

    fn all_up(&self) {
        BrokerProcess::all_up(self).expect("the broker obeys");
    }
}
