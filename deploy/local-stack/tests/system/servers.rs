//! # The servers under test
//!
//! The one place that knows which they are, so that others can take their place.

use engines::kafka::BrokerProcess;
use engines::postgres::{PostgresOptions, PrivatePostgres};

const BROKERS: u16 = 3;

/// What all cases share.
pub(crate) trait Servers: Send + Sync {
    /// For the first line of the output.
    fn describe(&self) -> String;
    /// A PostgreSQL server, by an URL of a database that is always there.
    fn postgres(&self) -> String;
    /// The brokers that nobody hurts.
    fn kafka(&self) -> &dyn Kafka;
    /// Brokers for one case to hurt.
    fn own_kafka(&self) -> Box<dyn Kafka>;
}

/// A cluster of brokers.
pub(crate) trait Kafka: Send + Sync {
    /// The addresses, as the setting `bootstrap.servers` wants them.
    fn bootstrap_servers(&self) -> String;
    /// Creates a topic, with a replica on each broker.
    fn create_topic(&self, name: &str, partitions: i32);
    /// No broker can be reached.
    fn all_down(&self);
    /// All can be reached again.
    fn all_up(&self);
}

/// PostgreSQL and the mock cluster on this machine, without containers.
pub(crate) struct LocalServers {
    postgres: PrivatePostgres,
    kafka: BrokerProcess,
}

impl LocalServers {
    pub(crate) async fn start() -> Self {
        let postgres = PrivatePostgres::start(PostgresOptions::for_tests()).await;
        Self { postgres: postgres.unwrap_or_else(|error| panic!("{error}")), kafka: start_kafka() }
    }
}

impl Servers for LocalServers {
    fn describe(&self) -> String {
        format!(
            "PostgreSQL {} (private) and librdkafka's mock cluster, {BROKERS} brokers in memory",
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
        Box::new(start_kafka())
    }
}

fn start_kafka() -> BrokerProcess {
    BrokerProcess::start(BROKERS).unwrap_or_else(|error| panic!("{error}"))
}

impl Kafka for BrokerProcess {
    fn bootstrap_servers(&self) -> String {
        BrokerProcess::bootstrap_servers(self)
    }

    fn create_topic(&self, name: &str, partitions: i32) {
        BrokerProcess::create_topic(self, name, partitions, i32::from(BROKERS)).expect("a topic");
    }

    fn all_down(&self) {
        BrokerProcess::all_down(self).expect("the broker obeys");
    }

    fn all_up(&self) {
        BrokerProcess::all_up(self).expect("the broker obeys");
    }
}
