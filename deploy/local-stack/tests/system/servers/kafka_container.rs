//! # One broker of Apache Kafka, in a container
//!
//! Its port on this machine is chosen before it starts and stays when it is killed and started again, so that its
//! clients find it where it was. testcontainers' own module has the engine choose the port, and tells its broker
//! afterwards that it is 127.0.0.1; here the broker is told the engine's real host, so that a remote engine
//! serves too.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};
use testcontainers_modules::testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use testcontainers_modules::testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers_modules::testcontainers::runners::AsyncRunner;
use testcontainers_modules::testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

use super::containers::{THIS_MACHINE, not_started, waited};
use super::{Kafka, ServersError};
use crate::docker::{Docker, LABEL, Run};
use crate::heard::DEADLINE;

pub(super) const TAG: &str = "4.1.1";
const NAME: &str = "apache/kafka";
const PORT: u16 = 9092;
/// A Java machine on two busy cores takes its time.
const START: Duration = Duration::from_mins(2);
/// How often another program may snatch the port that we just saw free.
const PORTS: u32 = 5;
const ANSWER: Duration = Duration::from_secs(2);

/// Any of these drops the image's whole default configuration, so they are all that it needs: one node that is broker
/// and controller, whose topics have one replica, since there is nobody else.
const SETTINGS: [(&str, &str); 15] = [
    ("KAFKA_NODE_ID", "1"),
    ("KAFKA_PROCESS_ROLES", "broker,controller"),
    ("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093"),
    ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
    ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093"),
    ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    ("KAFKA_LOG_DIRS", "/var/lib/kafka/data"),
    ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
    ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
    ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
    // A misspelt topic must not come true.
    ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false"),
    // Waiting for more members, and fifty partitions of offsets, are for large groups.
    ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
    ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "4"),
    // Read by Kafka's start script.
    ("KAFKA_HEAP_OPTS", "-Xms128m -Xmx384m"),
    ("CLUSTER_ID", "5L6g3nShT-eMCtK--X86sw"),
];

/// Removed when dropped.
pub(super) struct KafkaContainer {
    container: ContainerAsync<GenericImage>,
    docker: Docker,
    bootstrap_servers: String,
}

/// What is started; its clients reach it at `host:port`.
pub(super) fn image(run: &Run, host: &str, port: u16) -> ContainerRequest<GenericImage> {
    let image = GenericImage::new(NAME, TAG)
        .with_wait_for(WaitFor::message_on_stdout("Kafka Server started"))
        .with_mapped_port(port, PORT.tcp())
        .with_startup_timeout(START)
        .with_label(LABEL, run.name())
        .with_env_var("KAFKA_ADVERTISED_LISTENERS", format!("PLAINTEXT://{host}:{port}"));
    let image = SETTINGS.iter().fold(image, |image, (name, value)| image.with_env_var(*name, *value));
    if host == THIS_MACHINE {
        // Whoever else is on the network has no business with a broker that asks for no password.
        image.with_host_config_modifier(|config| {
            for binding in config.port_bindings.iter_mut().flat_map(HashMap::values_mut).flatten().flatten() {
                binding.host_ip = Some(THIS_MACHINE.to_owned());
            }
        })
    } else {
        image
    }
}

impl KafkaContainer {
    pub(super) async fn start(run: &Run, host: &str) -> Result<Self, ServersError> {
        for attempt in 1.. {
            let port = free_port().map_err(|error| not_started("Kafka", &error))?;
            match image(run, host, port).start().await {
                Ok(container) => {
                    let docker = run.docker().clone();
                    return Ok(Self { container, docker, bootstrap_servers: format!("{host}:{port}") });
                }
                // What was made of it is removed with the run.
                Err(error) if taken(&error.to_string()) && attempt < PORTS => {}
                Err(error) => return Err(not_started("Kafka", &error)),
            }
        }
        unreachable!("the loop returns")
    }

    fn admin(&self) -> Admin {
        let created: KafkaResult<Admin> = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("reconnect.backoff.max.ms", "200")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create();
        created.expect("a client")
    }

    /// Returns once every partition of the topics in question has a leader.
    fn until_led(&self, admin: &Admin, topic: Option<&str>, partitions: usize) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let seen = admin.inner().fetch_metadata(topic, ANSWER);
            if seen.as_ref().is_ok_and(|metadata| led(metadata, topic, partitions)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "Kafka at {} has no leaders: {:?}",
                self.bootstrap_servers,
                seen.err()
            );
            std::thread::yield_now();
        }
    }
}

type Admin = AdminClient<DefaultClientContext>;

impl Kafka for KafkaContainer {
    fn bootstrap_servers(&self) -> String {
        self.bootstrap_servers.clone()
    }

    fn create_topic(&self, name: &str, partitions: i32) {
        let admin = self.admin();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
        let results = waited(admin.create_topics([&topic], &options)).expect("an answer");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("the topic {topic} is not created: {error}"));
        }
        self.until_led(&admin, Some(name), usize::try_from(partitions).expect("a number of partitions"));
    }

    /// SIGKILL: whoever is connected sees the connection break.
    fn all_down(&self) {
        let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        waited(self.docker.kill_container(self.container.id(), Some(options))).expect("killed");
        let deadline = Instant::now() + DEADLINE;
        while waited(self.container.is_running()).expect("the engine answers") {
            assert!(Instant::now() < deadline, "Kafka lives on");
        }
    }

    fn all_up(&self) {
        waited(self.container.start()).expect("started");
        self.until_led(&self.admin(), None, 0);
    }
}

/// Whether there are so many partitions at least, and all have leaders.
fn led(metadata: &Metadata, topic: Option<&str>, at_least: usize) -> bool {
    let topics = metadata.topics().iter().filter(|seen| topic.is_none_or(|topic| topic == seen.name()));
    let leaders: Vec<i32> =
        topics.flat_map(MetadataTopic::partitions).map(MetadataPartition::leader).collect();
    !metadata.brokers().is_empty() && leaders.len() >= at_least && leaders.iter().all(|leader| *leader >= 0)
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn taken(error: &str) -> bool {
    ["port is already allocated", "address already in use"].iter().any(|words| error.contains(words))
}
