//! # Health
//!
//! Whether this member can do its work, and what an operator must look at. Ready means: it has joined the group
//! and the group's coordinator is in reach. A data platform that is away does not make it unready, as no
//! other replica would do better; a partition that stopped is an alarm, as the others flow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use service_chassis::alarms::Alarms;
use service_chassis::management::Readiness;

use crate::delivery::Undecodable;

/// The component that readiness tells of.
pub const KAFKA: &str = "kafka";
/// A record cannot be understood, so its partition stopped before it.
pub const RECORD_UNDECODABLE: &str = "record-undecodable";
/// What is to be read next is not on the broker, so the partition stopped.
pub const POSITION_LOST: &str = "position-lost";
/// No broker can be reached.
pub const KAFKA_UNREACHABLE: &str = "kafka-unreachable";

/// The same error is logged again only after this time: librdkafka repeats it at every attempt.
const SAME_ERROR_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Readiness and alarms of one member.
#[derive(Clone)]
pub struct Health {
    topic: Arc<str>,
    readiness: Readiness,
    alarms: Alarms,
    client: Arc<Mutex<ClientState>>,
}

#[derive(Default)]
struct ClientState {
    joined: bool,
    last_error: Option<(String, Instant)>,
}

impl Health {
    /// Tells these two about a member that reads this topic.
    pub fn new(topic: &str, readiness: Readiness, alarms: Alarms) -> Self {
        Self { topic: topic.into(), readiness, alarms, client: Arc::default() }
    }

    pub(crate) fn joined(&self, partitions: usize) {
        self.with_client(|client| client.joined = true);
        self.readiness.set_ready(KAFKA);
        self.alarms.clear(KAFKA_UNREACHABLE, "");
        tracing::info!(partitions, "joined the group, owning {partitions} partitions of {}", self.topic);
    }

    pub(crate) fn assignment_lost(&self) {
        self.with_client(|client| client.joined = false);
        self.readiness.set_unready(KAFKA, "the assignment was lost; joining the group again");
    }

    /// The client is given up, and with it the membership.
    pub(crate) fn client_replaced(&self) {
        self.with_client(|client| client.joined = false);
        self.readiness.set_unready(KAFKA, "a new Kafka client is set up");
    }

    /// The client's own view, once a second: the truth that the events before only hint at.
    pub(crate) fn in_reach(&self, connected: bool, coordinator: bool) {
        if connected {
            self.alarms.clear(KAFKA_UNREACHABLE, "");
        }
        if !connected {
            self.readiness.set_unready(KAFKA, "no broker can be reached");
        } else if !coordinator {
            self.readiness.set_unready(KAFKA, "the group's coordinator cannot be reached");
        } else if self.with_client(|client| client.joined) {
            self.readiness.set_ready(KAFKA);
        } else {
            self.readiness.set_unready(KAFKA, "joining the group");
        }
    }

    pub(crate) fn no_broker_in_reach(&self, reason: &str) {
        self.readiness.set_unready(KAFKA, "no broker can be reached");
        let detail = format!("{reason}; it is tried again until one answers");
        self.alarms.raise(KAFKA_UNREACHABLE, "", detail);
    }

    /// An error that the client recovers from by itself; `name` tells repeats apart.
    pub(crate) fn client_error(&self, name: &str, reason: &str) {
        if self.is_news(name) {
            tracing::warn!("Kafka: {name}: {reason}");
        }
    }

    fn is_news(&self, name: &str) -> bool {
        let now = Instant::now();
        self.with_client(|client| {
            let told = client.last_error.as_ref().is_some_and(|(last, at)| {
                last == name && now.saturating_duration_since(*at) < SAME_ERROR_AGAIN_AFTER
            });
            if !told {
                client.last_error = Some((name.to_owned(), now));
            }
            !told
        })
    }

    pub(crate) fn record_undecodable(&self, partition: i32, offset: i64, cause: &Undecodable) {
        let topic = &self.topic;
        let detail = format!(
            "{topic}[{partition}] stopped before offset {offset}, which cannot be understood: {cause}"
        );
        self.alarms.raise(RECORD_UNDECODABLE, &self.subject(partition), detail);
    }

    pub(crate) fn position_lost(&self, partition: i32, wanted: i64, oldest: i64, end: i64) {
        let topic = &self.topic;
        let detail = format!(
            "{topic}[{partition}] stopped: offset {wanted} is to be read next, but the broker has {oldest} to {end}"
        );
        self.alarms.raise(POSITION_LOST, &self.subject(partition), detail);
    }

    /// The partition's alarms are its next owner's.
    pub(crate) fn partition_gone(&self, partition: i32) {
        let subject = self.subject(partition);
        self.alarms.clear(RECORD_UNDECODABLE, &subject);
        self.alarms.clear(POSITION_LOST, &subject);
    }

    fn subject(&self, partition: i32) -> String {
        format!("{}[{partition}]", self.topic)
    }

    fn with_client<R>(&self, change: impl FnOnce(&mut ClientState) -> R) -> R {
        change(&mut self.client.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
