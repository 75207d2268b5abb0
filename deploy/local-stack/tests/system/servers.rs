//! # The servers under test
//!
//! Two sets of them: real ones in [`containers`], and those of the local stack in [`local`]. A case sees only what
//! both can do.

mod containers;
mod kafka_container;
mod local;

use engines::guard::GuardError;
use engines::kafka::BrokerError;
use engines::postgres::PostgresError;

pub(crate) use containers::ContainerServers;
pub(crate) use local::LocalServers;

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
    /// Creates a topic, with a replica on each broker; returns once each partition has a leader.
    fn create_topic(&self, name: &str, partitions: i32);
    /// A session so long that a machine which stands still for a while costs no member its partitions.
    fn long_session(&self) -> &'static str {
        "30s"
    }
    /// No broker can be reached.
    fn all_down(&self);
    /// All can be reached again, where they were.
    fn all_up(&self);
}

/// Why the servers are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServersError {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(
        "the Docker engine has no image {image} and cannot pull it ({cause}): put it there (docker pull {image}), or \
         take SYSTEM_TESTS=local"
    )]
    Image { image: String, cause: String },
    #[error("{what} does not start in a container: {cause}")]
    Container { what: &'static str, cause: String },
}
