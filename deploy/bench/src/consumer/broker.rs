//! # The broker of a run
//!
//! Somebody's real ones, one in a container of our own, or the mock cluster, which is not Kafka and keeps 5 MiB a partition.
//! Topics have names of their own, and go at the end.

use crate::Failure;
use crate::command_line::ConsumerOptions;
use crate::report::say;
use engines::kafka::{BrokerProcess, KafkaContainer};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What the mock cluster surely keeps of records as ours, in all of six partitions and in one.
const IN_MEMORY: u64 = 50_000;
const IN_MEMORY_IN_ONE: u64 = 9_500;
const ANSWER: Duration = Duration::from_secs(30);

/// Where records lie.
pub(super) struct Broker {
    kind: Kind,
    topics: Mutex<Vec<String>>,
}

enum Kind {
    InMemory(BrokerProcess),
    Container(KafkaContainer),
    Given { bootstrap_servers: String, processes: Vec<i32> },
}

impl Broker {
    /// The one that the options name, else the best that there is.
    pub(super) async fn start(options: &ConsumerOptions) -> Result<Self, Failure> {
        let kind = if let Some(servers) = &options.bootstrap_servers {
            Kind::Given { bootstrap_servers: servers.clone(), processes: options.broker_process.clone() }
        } else if KafkaContainer::is_possible() {
            say("starting Kafka in a container")?;
            Kind::Container(tokio::task::spawn_blocking(KafkaContainer::start).await??)
        } else {
            Kind::InMemory(BrokerProcess::start(1)?)
        };
        Ok(Self { kind, topics: Mutex::default() })
    }

    /// As a table says it.
    pub(super) fn name(&self) -> String {
        match &self.kind {
            Kind::InMemory(_) => {
                "librdkafka's mock cluster in a process of its own, as no Docker engine answers".to_owned()
            }
            Kind::Container(container) => format!("one real Kafka ({}) in a container", container.image()),
            Kind::Given { bootstrap_servers, .. } => format!("a real Kafka at {bootstrap_servers}"),
        }
    }

    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.kind, Kind::InMemory(_))
    }

    /// The addresses, as the setting `bootstrap.servers` wants them.
    pub(super) fn bootstrap_servers(&self) -> String {
        match &self.kind {
            Kind::InMemory(broker) => broker.bootstrap_servers(),
            Kind::Container(container) => container.bootstrap_servers(),
            Kind::Given { bootstrap_servers, .. } => bootstrap_servers.clone(),
        }
    }

    /// The processes whose time counts as the broker's, as far as they are known.
    pub(super) fn processes(&self) -> Vec<i32> {
        match &self.kind {
            Kind::InMemory(broker) => vec![broker.id()],
            Kind::Container(container) => container.process().into_iter().collect(),
            Kind::Given { processes, .. } => processes.clone(),
        }
    }

    /// How many of so many records it can keep in a topic.
    pub(super) fn bears(&self, records: u64) -> u64 {
        if self.is_in_memory() { records.min(IN_MEMORY) } else { records }
    }

    /// The same for a topic of one partition.
    pub(super) fn bears_in_one(&self, records: u64) -> u64 {
        if self.is_in_memory() { records.min(IN_MEMORY_IN_ONE) } else { records }
    }

    pub(super) async fn create_topic(&self, name: &str, partitions: i32) -> Result<(), Failure> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        if let Kind::InMemory(broker) = &self.kind {
            return Ok(broker.create_topic(name, partitions, 1)?);
        }
        // Of three brokers each copy would cost its own processor time; what is measured is the reader.
        let topic =
            NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("min.insync.replicas", "1");
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        for created in self.admin()?.create_topics([&topic], &options).await? {
            created.map_err(|(name, error)| format!("the topic {name} is not created: {error}"))?;
        }
        Ok(())
    }

    /// All that were made.
    pub(super) async fn delete_topics(&self) -> Result<(), Failure> {
        let names = std::mem::take(&mut *self.topics.lock().unwrap_or_else(PoisonError::into_inner));
        if self.is_in_memory() {
            return Ok(());
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for deleted in self.admin()?.delete_topics(&names, &AdminOptions::new()).await? {
            deleted.map_err(|(name, error)| format!("the topic {name} is not deleted: {error}"))?;
        }
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, Failure> {
        Ok(ClientConfig::new().set("bootstrap.servers", self.bootstrap_servers()).create()?)
    }

    /// Ends it, if it is ours.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        match self.kind {
            Kind::InMemory(broker) => broker.stop().await,
            Kind::Container(container) => container.stop()?,
            Kind::Given { .. } => {}
        }
        Ok(())
    }
}
