//! # Kafka watch
//!
//! Looks at Kafka every few seconds, beside the relay and on threads that may wait, and raises an alarm for what an
//! operator must know before an event has timed out: no broker answers, the topic is not there, or it stands with
//! fewer copies than the settings want. None of these makes the service unready: orders go on, their events wait
//! in the outbox.
//!
//! It changes nothing, and sends nothing. What it cannot find out, since a broker does not tell the topic's
//! settings, is said once and is no alarm.

use super::cluster::{Cluster, Look, TopicState, Unreachable};
use super::event_publisher::PublisherError;
use super::topic_admin::{AdminError, TopicAdmin};
use super::topic_partitions::TopicPartitions;
use super::topics::comparison::{Found, TopicProperties, Wanted};
use super::topics::wanted_for_events;
use crate::settings::{KafkaSettings, TopicsSettings};
use service_chassis::alarms::Alarms;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Raised while no broker answers.
pub const KAFKA_UNREACHABLE: &str = "kafka-unreachable";
/// Raised while the topic of the events does not exist.
pub const TOPIC_MISSING: &str = "topic-missing";
/// Raised while Kafka does not let this user see the topic.
pub const TOPIC_FORBIDDEN: &str = "topic-forbidden";
/// Raised while the topic stands with fewer copies than the settings want, or with other dangers to its events.
pub const TOPIC_BELOW_DURABILITY: &str = "topic-below-durability";

/// A topic's settings change by an operator's hand only.
const LOOKS_PER_READING: u32 = 20;

/// What watches Kafka for a service that publishes.
pub struct KafkaWatch {
    cluster: Arc<Cluster>,
    kafka: KafkaSettings,
    wanted: Wanted,
    accept_less: bool,
    alarms: Alarms,
    partitions: TopicPartitions,
    properties: Option<TopicProperties>,
    reading: Option<JoinHandle<Result<TopicProperties, AdminError>>>,
    read_at: Option<Instant>,
    unreadable_told: bool,
}

impl KafkaWatch {
    /// Connects in the background. What it finds out about the topic's partitions it leaves at `partitions`.
    ///
    /// # Errors
    /// librdkafka does not take the settings.
    pub fn new(
        kafka: &KafkaSettings,
        topics: &TopicsSettings,
        alarms: Alarms,
        partitions: TopicPartitions,
    ) -> Result<Self, PublisherError> {
        Ok(Self {
            cluster: Arc::new(Cluster::connect(kafka)?),
            kafka: kafka.clone(),
            wanted: wanted_for_events(kafka, topics),
            accept_less: topics.accept_less,
            alarms,
            partitions,
            properties: None,
            reading: None,
            read_at: None,
            unreadable_told: false,
        })
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.accept_less {
            warn!(
                "topics.accept_less is set: nobody watches whether the topic {} has the replicas that keep acknowledged \
                 events when a broker is lost",
                self.kafka.topic
            );
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.look_on() => {}
        }
        let_go(self.cluster);
    }

    async fn look_on(&mut self) {
        loop {
            if let Ok(look) = self.look().await {
                self.alarms.clear(KAFKA_UNREACHABLE, "");
                self.judge(look).await;
            } else {
                // A broker that went away with the question on its way does not mean that all are away; and this client may have
                // forgotten all of them (`EventPublisher::is_of_no_use`).
                self.begin_anew();
                if let Err(unreachable) = self.look().await {
                    self.alarms.raise(KAFKA_UNREACHABLE, "", self.told(&unreachable));
                }
            }
            tokio::time::sleep(self.kafka.watch_interval).await;
        }
    }

    fn begin_anew(&mut self) {
        // The settings were taken before.
        if let Ok(cluster) = Cluster::connect(&self.kafka) {
            let_go(std::mem::replace(&mut self.cluster, Arc::new(cluster)));
        }
    }

    async fn look(&self) -> Result<Look, Unreachable> {
        let (cluster, topic) = (self.cluster.clone(), self.kafka.topic.clone());
        let limit = self.kafka.watch_interval;
        let looked = spawn_blocking(move || cluster.look(&topic, limit)).await;
        looked.unwrap_or_else(|stopped| Err(Unreachable { cause: stopped.to_string() }))
    }

    fn told(&self, unreachable: &Unreachable) -> String {
        format!(
            "no broker can be reached at {} ({unreachable}); orders go on, their events wait in the outbox",
            self.kafka.bootstrap_servers
        )
    }

    async fn judge(&mut self, look: Look) {
        let topic = self.kafka.topic.clone();
        let (missing, not_allowed) = match look.topic {
            TopicState::Unclear(cause) => {
                debug!("topic {topic}: {cause}");
                return;
            }
            TopicState::Missing => {
                // The next one of this name is another topic.
                (self.properties, self.read_at) = (None, None);
                self.tell(TOPIC_BELOW_DURABILITY, None);
                (true, false)
            }
            TopicState::NotAllowed => (false, true),
            TopicState::Found(partitions) => {
                self.partitions.are(partitions.len());
                self.read_properties().await;
                let replicas = partitions.into_iter().map(|(id, partition)| (id, partition.replicas));
                self.judge_durability(look.brokers, replicas.collect());
                (false, false)
            }
        };
        self.tell(
            TOPIC_MISSING,
            missing.then(|| {
                format!(
                    "topic {topic} does not exist: run `order-service topics`, or correct kafka.topic; orders go on, \
                     their events wait in the outbox"
                )
            }),
        );
        self.tell(
            TOPIC_FORBIDDEN,
            not_allowed.then(|| {
                format!(
                    "Kafka does not let this user see topic {topic}: have Describe and Write granted; orders go on, \
                     their events wait in the outbox"
                )
            }),
        );
    }

    fn judge_durability(&self, brokers: Vec<i32>, replicas: BTreeMap<i32, Vec<i32>>) {
        if self.accept_less {
            return;
        }
        let properties = self.properties.clone().unwrap_or_default();
        let found = Found { brokers, replicas, properties };
        let dangers = self.wanted.dangers(&found, &self.kafka.bootstrap_servers);
        let findings: Vec<String> = dangers.into_iter().map(|less| less.finding).collect();
        self.tell(
            TOPIC_BELOW_DURABILITY,
            (!findings.is_empty()).then(|| {
                format!(
                    "topic {} stands with less than the settings want: {}; acknowledged events may be lost with a \
                     broker. `order-service topics` says what cures it, topics.accept_less=true takes it",
                    self.kafka.topic,
                    findings.join("; ")
                )
            }),
        );
    }

    /// Beside the looks: a broker that does not know the request never answers it.
    async fn read_properties(&mut self) {
        if self.accept_less {
            return;
        }
        if let Some(reading) = self.reading.take_if(|reading| reading.is_finished()) {
            match reading.await {
                Ok(Ok(properties)) => self.properties = Some(properties),
                // A broker in memory, for trying things out, never answers: no news for a person.
                Ok(Err(AdminError::Unavailable(cause))) => {
                    debug!("the settings of topic {} are not read: {cause}", self.kafka.topic);
                }
                Ok(Err(error)) => self.tell_unreadable(&error.to_string()),
                Err(stopped) => self.tell_unreadable(&stopped.to_string()),
            }
        }
        let pause = self.kafka.watch_interval * LOOKS_PER_READING;
        if self.reading.is_none() && self.read_at.is_none_or(|at| at.elapsed() >= pause) {
            self.read_at = Some(Instant::now());
            let kafka = self.kafka.clone();
            self.reading = Some(tokio::spawn(async move {
                let admin = TopicAdmin::connect(&kafka)
                    .map_err(|error| AdminError::Unavailable(error.to_string()))?;
                admin.properties(&kafka.topic, kafka.watch_interval).await
            }));
        }
    }

    fn tell_unreadable(&mut self, cause: &str) {
        if !std::mem::replace(&mut self.unreadable_told, true) {
            info!(
                "the settings of topic {} cannot be read ({cause}), so nobody watches its min.insync.replicas and \
                 unclean elections; its replicas are watched",
                self.kafka.topic
            );
        }
    }

    fn tell(&self, alarm: &'static str, detail: Option<String>) {
        let topic = &self.kafka.topic;
        match detail {
            Some(detail) => self.alarms.raise(alarm, topic, detail),
            None => self.alarms.clear(alarm, topic),
        }
    }
}

/// Its end waits for threads of librdkafka.
fn let_go(cluster: Arc<Cluster>) {
    drop(spawn_blocking(move || drop(cluster)));
}
