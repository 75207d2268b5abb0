//! # One broker of Apache Kafka, in a container
//!
//! The real thing, for what the mock cluster cannot show: as much as is wanted, and a group's coordinator that is Kafka's own. By
//! the command `docker`, on a port of this machine that is free, and taken away by the guard if we cannot do it ourselves.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use crate::child_process::{self, SpawnError};
use crate::guard::{AtTheEnd, AtTheEndError, GuardError, at_the_end};

const IMAGE: &str = "apache/kafka:4.1.1";
/// A Java machine on two busy cores takes its time.
const START: Duration = Duration::from_mins(2);
const ANSWER: Duration = Duration::from_secs(1);

/// Any of these drops the image's whole default configuration, so they are all that it needs: one node that is broker
/// and controller, whose topics have one replica, since there is nobody else.
const SETTINGS: [&str; 13] = [
    "KAFKA_NODE_ID=1",
    "KAFKA_PROCESS_ROLES=broker,controller",
    "KAFKA_LISTENERS=PLAINTEXT://:9092,CONTROLLER://:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER",
    "KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:9093",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_LOG_DIRS=/var/lib/kafka/data",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE=false",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS=4",
    // Read by Kafka's start script.
    "KAFKA_HEAP_OPTS=-Xms512m -Xmx512m",
    "CLUSTER_ID=5L6g3nShT-eMCtK--X86sw",
];

/// Why there is no such broker.
#[derive(Debug, thiserror::Error)]
pub enum KafkaContainerError {
    /// Nothing is started unguarded.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// There is no command `docker`.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It is left to the guard.
    #[error(transparent)]
    NotRemoved(#[from] AtTheEndError),
    /// No port is free.
    #[error("no port is free: {0}")]
    Port(#[from] std::io::Error),
    /// The engine has no such image and cannot pull it, or no room.
    #[error("docker {command} failed: {said}")]
    Docker {
        /// Its first word.
        command: &'static str,
        /// What it said.
        said: String,
    },
    /// It runs, but is of no use.
    #[error("Kafka in a container did not answer within {} s: {cause}", START.as_secs())]
    Silent {
        /// librdkafka's reason.
        #[from]
        cause: KafkaError,
    },
}

/// It goes with this value or, with this program, by the guard.
#[derive(Debug)]
pub struct KafkaContainer {
    name: String,
    bootstrap_servers: String,
    away: AtTheEnd,
}

impl KafkaContainer {
    /// Whether a Docker engine answers.
    pub fn is_possible() -> bool {
        let mut asking = Command::new("docker");
        asking.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        asking.status().is_ok_and(|status| status.success())
    }

    /// Starts it and returns once it answers; the image is pulled if it is not there.
    pub fn start() -> Result<Self, KafkaContainerError> {
        let name = format!("engines-kafka-{}", std::process::id());
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let bootstrap_servers = format!("127.0.0.1:{port}");
        let mut remove = Command::new("docker");
        let away = at_the_end(remove.args(["rm", "--force", "--volumes", &name]))?;
        let mut run = Command::new("docker");
        run.args(["run", "--detach", "--name", &name, "--publish", &format!("{bootstrap_servers}:9092")]);
        run.arg("--env").arg(format!("KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{bootstrap_servers}"));
        for setting in SETTINGS {
            run.args(["--env", setting]);
        }
        docker("run", run.arg(IMAGE))?;
        let container = Self { name, bootstrap_servers, away };
        match container.until_it_answers() {
            Ok(()) => Ok(container),
            Err(failure) => {
                container.stop()?;
                Err(failure)
            }
        }
    }

    fn until_it_answers(&self) -> Result<(), KafkaContainerError> {
        let deadline = Instant::now() + START;
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("reconnect.backoff.max.ms", "200")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()?;
        while let Err(error) = client.fetch_metadata(None, ANSWER) {
            if Instant::now() > deadline {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// What it was made of.
    pub fn image(&self) -> &'static str {
        IMAGE
    }

    /// The address, as the setting `bootstrap.servers` wants it.
    pub fn bootstrap_servers(&self) -> String {
        self.bootstrap_servers.clone()
    }

    /// Its process on this machine, if it runs on this one.
    pub fn process(&self) -> Option<i32> {
        let mut inspect = Command::new("docker");
        inspect.args(["inspect", "--format", "{{.State.Pid}}", &self.name]);
        docker("inspect", &mut inspect).ok()?.trim().parse().ok().filter(|id| *id > 0)
    }

    /// It answers nobody until it is thawed.
    pub fn freeze(&self) -> Result<(), KafkaContainerError> {
        docker("pause", Command::new("docker").args(["pause", &self.name])).map(drop)
    }

    /// It goes on as if no time had passed.
    pub fn thaw(&self) -> Result<(), KafkaContainerError> {
        docker("unpause", Command::new("docker").args(["unpause", &self.name])).map(drop)
    }

    /// Removes it, with all that it holds.
    pub fn stop(self) -> Result<(), KafkaContainerError> {
        Ok(self.away.now()?)
    }
}

fn docker(name: &'static str, command: &mut Command) -> Result<String, KafkaContainerError> {
    let (status, said) = child_process::run(command)?;
    if status.success() {
        return Ok(said);
    }
    Err(KafkaContainerError::Docker { command: name, said: said.trim().to_owned() })
}
