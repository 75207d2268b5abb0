//! # The mock cluster, in this process

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
use rdkafka::types::RDKafkaErrorCode;

/// A cluster in memory that goes when this value goes.
pub struct MockBroker {
    /// The cluster lives inside a client that nothing is ever sent with: unlike a cluster made on its own,
    /// it may then be shared between threads.
    owner: BaseProducer,
}

impl MockBroker {
    /// Starts a cluster of so many brokers on 127.0.0.1.
    pub fn start(brokers: u16) -> KafkaResult<Self> {
        let owner: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", brokers.to_string())
            // It would report, as news, the very faults that a test asks for.
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()?;
        let broker = Self { owner };
        broker.try_cluster()?;
        Ok(broker)
    }

    /// The addresses, as the setting `bootstrap.servers` wants them.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster().bootstrap_servers()
    }

    /// Creates a topic; the admin protocol is not spoken by the mock cluster.
    pub fn create_topic(&self, name: &str, partitions: i32, replication: i32) -> KafkaResult<()> {
        self.try_cluster()?.create_topic(name, partitions, replication)
    }

    /// The cluster, for its faults: brokers down and up, errors in answer to requests, leaders moved.
    ///
    /// # Panics
    ///
    /// Never: that there is a cluster was seen at the start.
    pub fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.try_cluster().unwrap_or_else(|error| unreachable!("seen at the start: {error}"))
    }

    fn try_cluster(&self) -> KafkaResult<MockCluster<'_, DefaultProducerContext>> {
        self.owner.client().mock_cluster().ok_or(KafkaError::MockCluster(RDKafkaErrorCode::Fail))
    }
}

impl std::fmt::Debug for MockBroker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("MockBroker").field(&self.bootstrap_servers()).finish()
    }
}
