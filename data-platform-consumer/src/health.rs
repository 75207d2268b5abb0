//! # Health
//!
//! Whether this member can do its work, and what an operator must look at. Ready means: it has joined the group
//! and the group's coordinator is in reach. A data platform that is away does not make it unready, as no
//! other replica would do better; a partition that stopped as its position is gone is an alarm, as the others flow.
//!
//! What goes away is told by one line when it goes and one when it comes back, however long it is away and
//! however often the client fails to reach it meanwhile: an alarm when no broker is in reach, a warning when some
//! are.

mod broker_error;
mod delivery;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use service_chassis::alarms::Alarms;
use service_chassis::management::Readiness;

use crate::status::{ActiveAlarm, Status, StatusBoard};
use broker_error::{BrokerError, what_to_check};
pub(crate) use delivery::DeliveryHealth;
pub use delivery::{
    DEAD_LETTER_CEILING, DEAD_LETTERS_UNWRITABLE, DELIVERY, PARTITION_UNREADABLE, PLATFORM_UNAVAILABLE,
    SINK_MISCONFIGURED, STALLED,
};

/// The component that readiness tells of.
pub const KAFKA: &str = "kafka";
/// Everything that readiness tells of.
pub const COMPONENTS: [&str; 2] = [KAFKA, DELIVERY];
/// What is to be read next is not on the broker, so the partition stopped.
pub const POSITION_LOST: &str = "position-lost";
/// No broker can be reached.
pub const KAFKA_UNREACHABLE: &str = "kafka-unreachable";
/// The topic does not exist.
pub const TOPIC_MISSING: &str = "topic-missing";
/// The brokers do not let this service read the topic.
pub const TOPIC_FORBIDDEN: &str = "topic-forbidden";

/// The same error is logged again only after this time: librdkafka repeats it at every attempt.
const SAME_ERROR_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The client says by itself that all brokers are down, but not of brokers that never answer at all. Looked at once
/// a second, which a connection that is only being set up does not outlast.
const LOOKS_WITHOUT_A_BROKER: u32 = 5;
/// What it does not get out of by itself (see [`crate::kafka_clients::reach`]).
const LOST_ALL: &str = "the client has lost all its brokers, as Kafka named none for a moment";
/// To find the coordinator and to join takes a moment; only what takes longer is told.
const LOOKS_WITHOUT_THE_GROUP: u32 = 5;

/// Readiness and alarms of one member.
#[derive(Clone)]
pub struct Health {
    topic: Arc<str>,
    readiness: Readiness,
    alarms: Alarms,
    client: Arc<Mutex<ClientState>>,
    assignments_lost: Counter,
    commits_failed: Counter,
    clients_replaced: Counter,
    pub(crate) delivery: DeliveryHealth,
    pub(crate) board: StatusBoard,
}

/// What is known of the client's connections and its membership.
#[derive(Default)]
struct ClientState {
    connected: bool,
    looks_without_a_broker: u32,
    coordinator: bool,
    looks_without_the_group: u32,
    /// How many partitions it owns, once it is a member.
    owned: Option<usize>,
    topic: TopicState,
    /// Brokers, as `HOST:PORT`, of which it was told that they cannot be reached.
    brokers_away: BTreeSet<String>,
    last_cause: Option<String>,
    last_error: Option<(String, Instant)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum TopicState {
    /// As far as is known.
    #[default]
    Readable,
    Missing,
    Forbidden,
}

/// A broker that the client knows.
pub(crate) struct BrokerReach<'a> {
    /// `HOST:PORT`.
    pub(crate) address: &'a str,
    /// Whether there is a connection to it.
    pub(crate) connected: bool,
}

impl Health {
    /// Tells these two about a member that reads this topic.
    pub fn new(topic: &str, readiness: Readiness, alarms: Alarms) -> Self {
        let (topic, client) = (Arc::from(topic), Arc::default());
        let delivery = DeliveryHealth::new(Arc::clone(&topic), readiness.clone(), alarms.clone());
        Self {
            topic,
            readiness,
            alarms,
            client,
            assignments_lost: Counter::default(),
            commits_failed: Counter::default(),
            clients_replaced: Counter::default(),
            delivery,
            board: StatusBoard::default(),
        }
    }

    /// Shows what it counts.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let help = "Assignments that were taken away without being handed back: what was not committed is delivered again";
        registry.register("assignments_lost", help, self.assignments_lost.clone());
        let help = "Offset commits that failed or were refused: some are normal while the group rebalances";
        registry.register("offset_commits_failed", help, self.commits_failed.clone());
        let help = "Kafka clients that were replaced by new ones, as they could not go on or reached no broker for long";
        registry.register("kafka_clients_replaced", help, self.clients_replaced.clone());
        self.delivery.register_metrics(registry);
        registry.register_collector(Box::new(self.board.clone()));
    }

    /// What the member is doing, as it was written down last, and the alarms of this moment.
    pub fn status(&self) -> Status {
        let alarms = self.alarms.active().into_iter().map(ActiveAlarm::from).collect();
        Status { alarms, ..self.board.read() }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).connected
    }

    /// Whether it is a member, be it one that owns nothing.
    pub(crate) fn has_joined(&self) -> bool {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).owned.is_some()
    }

    /// How often partitions were taken away without being handed back.
    pub fn assignments_lost(&self) -> u64 {
        self.assignments_lost.get()
    }

    /// How many Kafka clients were replaced by new ones.
    pub fn clients_replaced(&self) -> u64 {
        self.clients_replaced.get()
    }

    /// How many commits failed or were refused.
    pub fn commits_failed(&self) -> u64 {
        self.commits_failed.get()
    }

    pub(crate) fn joined(&self, partitions: usize) {
        let topic = &self.topic;
        self.change(|client| {
            match client.owned {
                None => {
                    tracing::info!(partitions, "joined the group, owning {partitions} partitions of {topic}");
                }
                Some(before) if before != partitions => {
                    tracing::info!(partitions, "now owning {partitions} partitions of {topic}");
                }
                Some(_) => tracing::debug!(partitions, "still owning {partitions} partitions of {topic}"),
            }
            (client.owned, client.connected, client.coordinator) = (Some(partitions), true, true);
            client.topic = TopicState::Readable;
            client.looks_without_a_broker = 0;
        });
    }

    pub(crate) fn assignment_lost(&self) {
        self.assignments_lost.inc();
        self.change(|client| client.owned = None);
    }

    pub(crate) fn commit_failed(&self) {
        self.commits_failed.inc();
    }

    /// The client is given up, and with it the membership. Whether there is a topic is still true, and that and why no broker is
    /// in reach.
    pub(crate) fn client_replaced(&self) {
        self.clients_replaced.inc();
        self.change(|client| {
            let ClientState { connected, looks_without_a_broker, topic, .. } = *client;
            let last_cause = client.last_cause.take();
            *client = ClientState {
                connected,
                looks_without_a_broker,
                topic,
                last_cause,
                ..ClientState::default()
            };
        });
    }

    /// The client's own view, once a second: the truth that its events only hint at.
    pub(crate) fn in_reach(&self, brokers: &[BrokerReach<'_>], coordinator: bool) {
        self.change(|client| {
            client.connected = brokers.iter().any(|broker| broker.connected);
            client.coordinator = coordinator;
            client.looks_without_a_broker =
                if client.connected { 0 } else { client.looks_without_a_broker.saturating_add(1) };
            let in_group = coordinator && client.owned.is_some();
            client.looks_without_the_group = if in_group || !client.connected {
                0
            } else {
                client.looks_without_the_group.saturating_add(1)
            };
            if client.connected {
                client.last_cause = None;
            } else if brokers.iter().all(|broker| broker.address.is_empty()) {
                client.last_cause = Some(LOST_ALL.to_owned());
            }
            client.brokers_away.retain(|address| {
                let mut known = brokers.iter().filter(|broker| broker.address == address);
                let back = known.clone().any(|broker| broker.connected);
                if back {
                    tracing::info!("Kafka broker {address} is back");
                }
                // One that has left the cluster does not come back.
                !back && known.next().is_some()
            });
        });
    }

    pub(crate) fn no_broker_in_reach(&self) {
        self.change(|client| {
            client.connected = false;
            client.looks_without_a_broker = LOOKS_WITHOUT_A_BROKER;
        });
    }

    pub(crate) fn topic_missing(&self) {
        self.change(|client| client.topic = TopicState::Missing);
    }

    pub(crate) fn topic_forbidden(&self) {
        self.change(|client| client.topic = TopicState::Forbidden);
    }

    /// An error that the client recovers from by itself; `name` tells repeats apart. Whether it is about a broker's connection.
    pub(crate) fn client_error(&self, name: &str, reason: &str) -> bool {
        let of_a_broker = BrokerError::parse(reason);
        match &of_a_broker {
            Some(error) => self.change(|client| client.broker_failed(error)),
            None if self.is_news(name) => tracing::warn!("Kafka: {name}: {reason}"),
            None => tracing::debug!("Kafka: {name}: {reason}"),
        }
        of_a_broker.is_some()
    }

    fn is_news(&self, name: &str) -> bool {
        let now = Instant::now();
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let told = client.last_error.as_ref().is_some_and(|(last, at)| {
            last == name && now.saturating_duration_since(*at) < SAME_ERROR_AGAIN_AFTER
        });
        if !told {
            client.last_error = Some((name.to_owned(), now));
        }
        !told
    }

    pub(crate) fn position_lost(&self, partition: i32, wanted: i64, oldest: i64, end: i64) {
        let topic = &self.topic;
        let detail = format!(
            "{topic}[{partition}] stopped: offset {wanted} is to be read next, but the broker has {oldest} to {end}: decide \
             where it is read on: `data-platform-consumer positions set --lost --to earliest` tells what that would do (or \
             `latest`, an offset, a time), and with `--yes` does it, while the consumers are stopped"
        );
        self.alarms.raise(POSITION_LOST, &self.subject(partition), detail);
    }

    /// The partition's alarms are its next owner's.
    pub(crate) fn partition_gone(&self, partition: i32) {
        let subject = self.subject(partition);
        self.alarms.clear(POSITION_LOST, &subject);
        self.delivery.partition_gone(partition);
    }

    fn subject(&self, partition: i32) -> String {
        format!("{}[{partition}]", self.topic)
    }

    /// Changes what is known, and tells what follows from it.
    fn change(&self, change: impl FnOnce(&mut ClientState)) {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut client);
        // Whoever sees an alarm sees it unready too, and ready only without one.
        if let Some(unready) = client.unready() {
            self.tell_unready(&client, &unready);
            self.tell_alarms(&client);
        } else {
            self.tell_alarms(&client);
            self.readiness.set_ready(KAFKA);
        }
    }

    fn tell_alarms(&self, client: &ClientState) {
        if client.connected {
            self.alarms.clear(KAFKA_UNREACHABLE, "");
        } else if client.looks_without_a_broker >= LOOKS_WITHOUT_A_BROKER {
            let cause = client.last_cause.as_deref().unwrap_or("none answers");
            let advice = what_to_check(cause);
            let detail = format!(
                "no Kafka broker can be reached ({cause}): check {advice}; it is tried again until one answers, now and then \
                 with a new client"
            );
            self.alarms.raise(KAFKA_UNREACHABLE, "", detail);
        }
        let topic = &self.topic;
        if client.topic == TopicState::Missing {
            let detail = format!(
                "the topic {topic} does not exist: create it (`order-service topics`), or correct `kafka.topic`; it is read as \
                 soon as it is there"
            );
            self.alarms.raise(TOPIC_MISSING, topic, detail);
        } else {
            self.alarms.clear(TOPIC_MISSING, topic);
        }
        if client.topic == TopicState::Forbidden {
            let detail = format!(
                "the brokers refuse to let this service read the topic {topic}: grant its user READ and DESCRIBE on it; it \
                 is read as soon as it may be"
            );
            self.alarms.raise(TOPIC_FORBIDDEN, topic, detail);
        } else {
            self.alarms.clear(TOPIC_FORBIDDEN, topic);
        }
    }

    fn tell_unready(&self, client: &ClientState, unready: &Unready) {
        let &Unready { reason, has_an_alarm } = unready;
        if has_an_alarm || client.looks_without_the_group < LOOKS_WITHOUT_THE_GROUP {
            self.readiness.set_unready_quietly(KAFKA, reason);
        } else {
            self.readiness.set_unready(KAFKA, reason);
        }
    }
}

struct Unready {
    reason: &'static str,
    /// Whether an alarm tells it.
    has_an_alarm: bool,
}

impl ClientState {
    /// Why it cannot do its work, if it cannot.
    fn unready(&self) -> Option<Unready> {
        let (reason, has_an_alarm) = if !self.connected {
            ("no broker can be reached", true)
        } else if self.topic == TopicState::Missing {
            ("the topic does not exist", true)
        } else if self.topic == TopicState::Forbidden {
            ("the topic may not be read", true)
        } else if !self.coordinator {
            ("the group's coordinator cannot be reached", false)
        } else if self.owned.is_none() {
            ("joining the group", false)
        } else {
            return None;
        };
        Some(Unready { reason, has_an_alarm })
    }

    /// Told once, unless no broker is in reach at all: then an alarm tells it.
    fn broker_failed(&mut self, error: &BrokerError<'_>) {
        let BrokerError { address, cause } = error;
        self.last_cause = Some(format!("{address}: {cause}"));
        if self.connected && !error.is_a_mere_end() && self.brokers_away.insert((*address).to_owned()) {
            tracing::warn!(
                "Kafka broker {address} cannot be reached, which is tried until it answers: {cause}"
            );
        } else {
            tracing::debug!("Kafka broker {address} cannot be reached: {cause}");
        }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
