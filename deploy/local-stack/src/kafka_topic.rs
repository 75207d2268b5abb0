//! # The topic on a Kafka of one's own
//!
//! Found, or created with as many replicas as there are brokers, up to three. Everything has a time limit: a
//! wrong address is told, not waited for.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

const PATIENCE: Duration = Duration::from_secs(10);
const MOST_REPLICAS: usize = 3;

/// Why there is no topic.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// Nobody answers at the address.
    #[error("cannot reach Kafka at {servers} within {} s ({cause}): check --kafka HOST:PORT and that it runs", PATIENCE.as_secs())]
    Unreachable {
        /// What `--kafka` says.
        servers: String,
        /// librdkafka's reason.
        cause: KafkaError,
    },
    /// Kafka answers, but refuses.
    #[error(
        "Kafka at {servers} did not create the topic {topic} ({cause}): create it yourself, with {partitions} partitions"
    )]
    Refused {
        /// What `--kafka` says.
        servers: String,
        /// The topic.
        topic: String,
        /// How many partitions it should have.
        partitions: i32,
        /// Kafka's reason.
        cause: String,
    },
}

/// Returns once the topic is there.
pub async fn ensure(servers: &str, topic: &str, partitions: i32) -> Result<(), TopicError> {
    let (existing, brokers, admin) = look(servers.to_owned()).await?;
    if existing.iter().any(|name| name == topic) {
        return Ok(());
    }
    let refused = |cause: String| TopicError::Refused {
        servers: servers.to_owned(),
        topic: topic.to_owned(),
        partitions,
        cause,
    };
    let replicas = i32::try_from(brokers.clamp(1, MOST_REPLICAS)).unwrap_or(1);
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas));
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let created = tokio::time::timeout(PATIENCE + PATIENCE, admin.create_topics([&new], &options)).await;
    let results =
        created.map_err(|_| refused("no answer".to_owned()))?.map_err(|error| refused(error.to_string()))?;
    for result in results {
        match result {
            // Somebody else was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(refused(code.to_string())),
        }
    }
    Ok(())
}

type Admin = AdminClient<DefaultClientContext>;

/// The topics and the number of brokers, and the client that asked.
async fn look(servers: String) -> Result<(Vec<String>, usize, Admin), TopicError> {
    let asking = tokio::task::spawn_blocking(move || {
        let unreachable = |cause| TopicError::Unreachable { servers: servers.clone(), cause };
        let admin: Admin = ClientConfig::new()
            .set("bootstrap.servers", &servers)
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()
            .map_err(unreachable)?;
        let cluster = admin.inner().fetch_metadata(None, PATIENCE).map_err(unreachable)?;
        let topics = cluster.topics().iter().map(|topic| topic.name().to_owned()).collect();
        Ok((topics, cluster.brokers().len(), admin))
    });
    asking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
