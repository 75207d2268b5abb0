//! # Topics
//!
//! `order-service topics`: creates the topic of the events and the topic of their dead letters where they are
//! missing, and compares what is there with the settings. A topic that stands with less is refused with everything
//! that is less, since acknowledgements are only worth what the replicas behind them are; `topics.accept_less` takes it.
//! Nothing that exists is ever changed here.
//!
//! It may be started before Kafka is, and by several at once: brokers are waited for, within `topics.wait_timeout`,
//! and a topic that another job created first is compared like any other.

pub mod comparison;

use super::cluster::{Cluster, Look, Partition, TopicState};
use super::event_publisher::PublisherError;
use super::topic_admin::{AdminError, TopicAdmin};
use crate::patience::Patience;
use crate::settings::{KafkaSettings, TopicsSettings};
use comparison::{Found, Less, Wanted};
use shared_messages::topics::dead_letter_topic;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

/// How long one request to Kafka may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// So often a topic may be there whose settings nobody tells, before this is taken for a missing right.
const LOOKS_AT_A_NEW_TOPIC: u32 = 4;

/// Why the topics are not as they must be.
#[derive(Debug, Error)]
pub enum TopicsError {
    /// The settings make no client.
    #[error(transparent)]
    Settings(#[from] PublisherError),
    /// It took too long.
    #[error("gave up on Kafka at {servers} after {seconds} s (topics.wait_timeout): {cause}")]
    TimedOut {
        /// Where Kafka is looked for.
        servers: String,
        /// How long it was tried.
        seconds: u64,
        /// What was still in the way, and what to do.
        cause: String,
    },
    /// Kafka says no.
    #[error("{0}")]
    Refused(String),
    /// There is less than wanted.
    #[error(
        "less than is wanted: {0}. The lines before say what cures each; topics.accept_less=true goes on with it"
    )]
    Less(String),
}

/// What the settings want of the events' topic.
pub fn wanted_for_events(kafka: &KafkaSettings, topics: &TopicsSettings) -> Wanted {
    Wanted {
        topic: kafka.topic.clone(),
        partitions: topics.partitions,
        least_partitions: topics.partitions,
        retention_setting: "topics.retention",
        retention: topics.retention,
        replication_factor: topics.replication_factor,
        min_insync_replicas: topics.min_insync_replicas,
        is_keyed: true,
    }
}

/// A dead letter keeps its partition's number, so there must be as many partitions as the events have.
fn wanted_for_dead_letters(kafka: &KafkaSettings, topics: &TopicsSettings, of_events: i32) -> Wanted {
    Wanted {
        topic: dead_letter_topic(&kafka.topic),
        partitions: topics.partitions.max(of_events),
        least_partitions: of_events,
        retention_setting: "topics.dead_letter_retention",
        retention: topics.dead_letter_retention,
        is_keyed: false,
        ..wanted_for_events(kafka, topics)
    }
}

/// Returns once both topics are there, with leaders, and are not less than wanted.
///
/// # Errors
/// [`TopicsError`] says what to do.
pub async fn ensure(kafka: &KafkaSettings, topics: &TopicsSettings) -> Result<(), TopicsError> {
    let mut job = Job {
        cluster: Arc::new(Cluster::connect(kafka)?),
        admin: TopicAdmin::connect(kafka)?,
        servers: &kafka.bootstrap_servers,
        patience: Patience::new(topics.wait_timeout, Instant::now()),
        refused: Vec::new(),
    };
    let of_events = job.ensure_topic(&wanted_for_events(kafka, topics), topics.accept_less).await?;
    info!(
        "the {of_events} partitions of {} are fixed: the partition of a key follows from their number, so changing it \
         would break the order of each key's events",
        kafka.topic
    );
    let dead_letters = wanted_for_dead_letters(kafka, topics, of_events);
    job.ensure_topic(&dead_letters, topics.accept_less).await?;
    if job.refused.is_empty() { Ok(()) } else { Err(TopicsError::Less(job.refused.join("; "))) }
}

struct Job<'a> {
    cluster: Arc<Cluster>,
    admin: TopicAdmin,
    servers: &'a str,
    patience: Patience,
    refused: Vec<String>,
}

impl Job<'_> {
    /// The number of partitions that the topic has.
    async fn ensure_topic(&mut self, wanted: &Wanted, accept_less: bool) -> Result<i32, TopicsError> {
        let topic = &wanted.topic;
        let mut created = false;
        let mut untold = 0;
        // Bounded by the patience, which every way round the loop asks.
        loop {
            let look = self.look(topic).await?;
            let obstacle = match look.topic {
                TopicState::Missing => match self.create(wanted, look.brokers.len()).await? {
                    Creation::Created => {
                        created = true;
                        None
                    }
                    Creation::ByAnother => Some(format!("{topic} is there, but not seen yet")),
                    Creation::Obstacle(obstacle) => Some(obstacle),
                },
                TopicState::NotAllowed => return Err(self.not_allowed(topic, "Describe")),
                TopicState::Unclear(cause) => Some(format!("{topic}: {cause}")),
                TopicState::Found(partitions) => match leaderless(&partitions) {
                    Some(leaderless) => Some(format!(
                        "{topic} has no leader for {leaderless}: the brokers that hold its replicas must be up"
                    )),
                    None if created => return Ok(told_as_created(wanted, &partitions)),
                    None => {
                        let may_be_new = untold < LOOKS_AT_A_NEW_TOPIC;
                        let found =
                            self.found(topic, look.brokers, partitions, accept_less, may_be_new).await?;
                        untold += 1;
                        if let Some(found) = found {
                            return Ok(self.judge(wanted, &found, accept_less));
                        }
                        Some(format!("the settings of {topic} cannot be read yet"))
                    }
                },
            };
            if let Some(obstacle) = obstacle {
                self.wait(&obstacle).await?;
            }
        }
    }

    async fn look(&mut self, topic: &str) -> Result<Look, TopicsError> {
        loop {
            let (cluster, name) = (self.cluster.clone(), topic.to_owned());
            let limit = REQUEST_LIMIT.min(self.patience.left());
            let looked = spawn_blocking(move || cluster.look(&name, limit)).await;
            match looked.map_err(|stopped| TopicsError::Refused(stopped.to_string()))? {
                Ok(look) => return Ok(look),
                Err(unreachable) => {
                    let what = format!(
                        "no broker can be reached ({unreachable}): start them, or correct kafka.bootstrap_servers"
                    );
                    self.wait(&what).await?;
                }
            }
        }
    }

    async fn create(&self, wanted: &Wanted, brokers: usize) -> Result<Creation, TopicsError> {
        let topic = &wanted.topic;
        let limit = REQUEST_LIMIT.min(self.patience.left());
        match self.admin.create(wanted, limit).await {
            Ok(()) => Ok(Creation::Created),
            Err(AdminError::Exists) => Ok(Creation::ByAnother),
            Err(AdminError::TooFewBrokers) => Ok(Creation::Obstacle(format!(
                "{} replicas wanted, the cluster has {brokers} broker(s): start the others or set \
                 topics.replication_factor",
                wanted.replication_factor
            ))),
            Err(AdminError::Unavailable(cause)) => {
                Ok(Creation::Obstacle(format!("{topic} cannot be created yet: {cause}")))
            }
            Err(AdminError::NotAllowed(_)) => Err(self.not_allowed(topic, "Create")),
            Err(error @ (AdminError::Missing | AdminError::Untold | AdminError::Refused(_))) => {
                Err(TopicsError::Refused(format!(
                    "{topic} cannot be created with {} partitions, {} replicas and {:?}: {error}; the brokers' log says \
                 more",
                    wanted.partitions,
                    wanted.replication_factor,
                    wanted.properties()
                )))
            }
        }
    }

    /// Nothing when it must be asked again.
    async fn found(
        &self,
        topic: &str,
        brokers: Vec<i32>,
        partitions: BTreeMap<i32, Partition>,
        accept_less: bool,
        may_be_new: bool,
    ) -> Result<Option<Found>, TopicsError> {
        let limit = REQUEST_LIMIT.min(self.patience.left());
        let properties = match self.admin.properties(topic, limit).await {
            Ok(properties) => properties,
            // Another job may have created it a moment ago, and this broker not have heard of it.
            Err(AdminError::Untold) if may_be_new => return Ok(None),
            Err(AdminError::NotAllowed(_) | AdminError::Untold) if accept_less => BTreeMap::new(),
            Err(AdminError::NotAllowed(_) | AdminError::Untold) => {
                return Err(self.not_allowed(topic, "DescribeConfigs"));
            }
            Err(
                AdminError::Missing
                | AdminError::Unavailable(_)
                | AdminError::Exists
                | AdminError::TooFewBrokers,
            ) => return Ok(None),
            Err(error @ AdminError::Refused(_)) => {
                return Err(TopicsError::Refused(format!("the settings of {topic} cannot be read: {error}")));
            }
        };
        let replicas = partitions.into_iter().map(|(id, partition)| (id, partition.replicas)).collect();
        Ok(Some(Found { brokers, replicas, properties }))
    }

    fn judge(&mut self, wanted: &Wanted, found: &Found, accept_less: bool) -> i32 {
        let topic = &wanted.topic;
        let partitions = found.replicas.len();
        let all_less = wanted.compare(found, self.servers);
        if all_less.is_empty() {
            info!(kafka.topic = topic, "topic {topic} found with {partitions} partitions, as wanted or more");
        }
        for Less { finding, cure, .. } in &all_less {
            if accept_less {
                warn!(kafka.topic = topic, "topic {topic} is taken with less: {finding}. To cure it: {cure}");
            } else {
                error!(kafka.topic = topic, "topic {topic} stands with less: {finding}. To cure it: {cure}");
                self.refused.push(format!("{topic} has {finding}"));
            }
        }
        i32::try_from(partitions).unwrap_or(i32::MAX)
    }

    async fn wait(&mut self, obstacle: &str) -> Result<(), TopicsError> {
        if let Some(pause) = self.patience.next_pause(Instant::now()) {
            // What is over within a second, as a new topic that not every broker has heard of yet, is no news.
            let seconds = self.patience.seconds();
            if seconds > 0 {
                warn!("waiting for Kafka at {}, {seconds} s so far: {obstacle}", self.servers);
            }
            tokio::time::sleep(pause).await;
            Ok(())
        } else {
            Err(TopicsError::TimedOut {
                servers: self.servers.to_owned(),
                seconds: self.patience.seconds(),
                cause: obstacle.to_owned(),
            })
        }
    }

    fn not_allowed(&self, topic: &str, operation: &str) -> TopicsError {
        TopicsError::Refused(format!(
            "Kafka at {} does not allow this user the operation {operation} on topic {topic}: have it granted \
             (kafka-acls.sh --bootstrap-server {} --add --allow-principal User:NAME --operation {operation} --topic \
             {topic}), or run this as a user who may",
            self.servers, self.servers
        ))
    }
}

enum Creation {
    Created,
    ByAnother,
    Obstacle(String),
}

fn leaderless(partitions: &BTreeMap<i32, Partition>) -> Option<String> {
    let without: Vec<&i32> =
        partitions.iter().filter(|(_, partition)| !partition.has_leader).map(|(id, _)| id).collect();
    let first = without.first()?;
    Some(format!("{} of {} partitions (partition {first} for one)", without.len(), partitions.len()))
}

fn told_as_created(wanted: &Wanted, partitions: &BTreeMap<i32, Partition>) -> i32 {
    let topic = &wanted.topic;
    info!(
        kafka.topic = topic,
        "topic {topic} created with {} partitions of {} replica(s), {}",
        partitions.len(),
        wanted.replication_factor,
        told(&wanted.properties())
    );
    i32::try_from(partitions.len()).unwrap_or(i32::MAX)
}

fn told(properties: &[(&str, String)]) -> String {
    let told: Vec<String> = properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{wanted_for_dead_letters, wanted_for_events};
    use crate::settings::{DEFAULTS, ENVIRONMENT_PREFIX, Settings};
    use service_chassis::settings::{SettingsSource, load_with_environment};

    #[test]
    fn dead_letters_have_a_partition_for_each_number_that_an_event_can_come_from() {
        let source =
            SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
        let settings: Settings = load_with_environment(&source, []).unwrap().settings;
        let events = wanted_for_events(&settings.kafka, &settings.topics);
        for (of_events, created, least) in [(12, 12, 12), (24, 24, 24), (6, 12, 6)] {
            let letters = wanted_for_dead_letters(&settings.kafka, &settings.topics, of_events);
            assert_eq!(letters.topic, "order-completed-dlt");
            assert_eq!((letters.partitions, letters.least_partitions), (created, least));
            assert!(letters.retention > events.retention);
        }
    }
}
