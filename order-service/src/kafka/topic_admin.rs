//! # Topic administration
//!
//! Creates a topic, and reads the settings that a topic stands with. Both are bounded: a broker that does not know
//! the request, as the mock cluster, is given up after the limit.

use super::event_publisher::{PublisherError, quiet_config};
use super::topics::comparison::{TopicProperties, Wanted};
use crate::settings::KafkaSettings;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::Duration;
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Beyond librdkafka's own limit: it has none for a request that waits to be sent.
const MARGIN: Duration = Duration::from_secs(1);

/// Why a request was not fulfilled, by what the caller will do.
#[derive(Clone, Debug, Error)]
pub enum AdminError {
    /// The topic is there already.
    #[error("it is there already")]
    Exists,
    /// There is no such topic (any more).
    #[error("there is no such topic")]
    Missing,
    /// As many brokers as the replicas need are not up.
    #[error("there are not enough brokers for its replicas")]
    TooFewBrokers,
    /// Nothing was told of a topic that is there: this user may not know it, or the broker has not heard of it yet. The
    /// client does not hand out which of the two.
    #[error("its settings are not told: this user lacks DescribeConfigs on it, or it is too new")]
    Untold,
    /// This user may not.
    #[error("it is not allowed ({0})")]
    NotAllowed(RDKafkaErrorCode),
    /// Trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// Trying again does not help.
    #[error("Kafka refuses it: {0}")]
    Refused(RDKafkaErrorCode),
}

/// A connection to Kafka that may change topics.
pub struct TopicAdmin {
    client: Option<AdminClient<DefaultClientContext>>,
}

impl TopicAdmin {
    /// Connects in the background.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn connect(settings: &KafkaSettings) -> Result<Self, PublisherError> {
        Ok(Self { client: Some(quiet_config(settings).create()?) })
    }

    /// Creates a topic as it is wanted.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn create(&self, wanted: &Wanted, limit: Duration) -> Result<(), AdminError> {
        let Some(client) = &self.client else { return Err(closed()) };
        let replication = TopicReplication::Fixed(wanted.replication_factor);
        let properties = wanted.properties();
        let new = properties
            .iter()
            .fold(NewTopic::new(&wanted.topic, wanted.partitions, replication), |new, (name, value)| {
                new.set(name, value)
            });
        let results = bounded(limit, client.create_topics([&new], &options(limit))).await?;
        results.into_iter().try_for_each(|result| match result {
            Ok(_) => Ok(()),
            Err((_, code)) => Err(of_code(code)),
        })
    }

    /// The properties that the topic stands with, the brokers' defaults included.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn properties(&self, topic: &str, limit: Duration) -> Result<TopicProperties, AdminError> {
        let Some(client) = &self.client else { return Err(closed()) };
        let asked = [ResourceSpecifier::Topic(topic)];
        let results = bounded(limit, client.describe_configs(&asked, &options(limit))).await?;
        let mut properties = TopicProperties::new();
        for resource in results {
            for entry in resource.map_err(of_code)?.entries {
                if let Some(value) = entry.value {
                    properties.insert(entry.name, value);
                }
            }
        }
        // The client hands out an error of one topic as a topic without properties, which there is none of.
        if properties.is_empty() {
            return Err(AdminError::Untold);
        }
        Ok(properties)
    }
}

impl Drop for TopicAdmin {
    /// It waits for librdkafka's threads, which must not hold up an async one.
    fn drop(&mut self) {
        if let (Some(client), Ok(_)) = (self.client.take(), tokio::runtime::Handle::try_current()) {
            drop(spawn_blocking(move || drop(client)));
        }
    }
}

fn options(limit: Duration) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(limit)).operation_timeout(Some(limit))
}

async fn bounded<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, KafkaError>>,
) -> Result<T, AdminError> {
    match timeout(limit + MARGIN, request).await {
        Ok(answer) => answer.map_err(|error| match error.rdkafka_error_code() {
            Some(code) => of_code(code),
            None => AdminError::Unavailable(error.to_string()),
        }),
        Err(_) => Err(AdminError::Unavailable(format!("no answer within {limit:?}"))),
    }
}

fn of_code(code: RDKafkaErrorCode) -> AdminError {
    use RDKafkaErrorCode as Code;
    let retryable = [
        Code::OperationTimedOut,
        Code::RequestTimedOut,
        Code::BrokerTransportFailure,
        Code::AllBrokersDown,
        Code::TimedOutQueue,
        Code::NotController,
        Code::CoordinatorNotAvailable,
        Code::LeaderNotAvailable,
        Code::NetworkException,
        Code::ThrottlingQuotaExceeded,
        Code::WaitingForCoordinator,
    ];
    if code == Code::TopicAlreadyExists {
        AdminError::Exists
    } else if code == Code::UnknownTopicOrPartition {
        AdminError::Missing
    } else if code == Code::InvalidReplicationFactor {
        AdminError::TooFewBrokers
    } else if [
        Code::TopicAuthorizationFailed,
        Code::ClusterAuthorizationFailed,
        Code::SaslAuthenticationFailed,
    ]
    .contains(&code)
    {
        AdminError::NotAllowed(code)
    } else if retryable.contains(&code) {
        AdminError::Unavailable(code.to_string())
    } else {
        AdminError::Refused(code)
    }
}

fn closed() -> AdminError {
    AdminError::Unavailable("the connection is closed".to_owned())
}
