//! # A real Kafka, in a container
//!
//! Java's client does not find its way about librdkafka's mock cluster, so what is written in Java needs Docker.
//!
//! Nothing stays behind: the container lives for as long as its standard input does, whose other end we hold. When we
//! end, however that comes, it ends too, and Docker removes it.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use crate::program::Program;
use crate::scene::PARTITIONS;

const IMAGE: &str = "apache/kafka:4.1.1";
/// Ends with its standard input, which `cat` waits for.
const SERVE: &str = "/etc/kafka/docker/run & cat; exit 0";

/// One broker, gone with this value.
pub(crate) struct RealKafka {
    container: Program,
    bootstrap_servers: String,
}

impl RealKafka {
    /// Returns while it still starts: clients wait for it. `Err` says in words for a person why there is none.
    pub(crate) fn start() -> Result<Self, String> {
        let docker = |arguments: &[&str]| {
            let output = Command::new("docker").args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        if !docker(&["version"]) {
            return Err("no Docker engine answers".to_owned());
        }
        if !docker(&["image", "inspect", IMAGE]) && !docker(&["pull", "--quiet", IMAGE]) {
            return Err(format!("Docker has no image {IMAGE}, and cannot pull it"));
        }
        // The port is part of what the broker tells its clients, so it must be known before.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let mut run = Command::new("docker");
        run.args([
            "run",
            "--rm",
            "--interactive",
            "--name",
            &format!("order-reader-test-{}-{port}", std::process::id()),
        ])
        .args(["--publish", &format!("127.0.0.1:{port}:{port}")]);
        for (name, value) in settings(port) {
            run.arg("--env").arg(format!("KAFKA_{name}={value}"));
        }
        let container = Program::start_with_input(run.args([IMAGE, "sh", "-c", SERVE]));
        Ok(Self { container, bootstrap_servers: format!("127.0.0.1:{port}") })
    }

    /// The address, as the setting `bootstrap.servers` wants it.
    pub(crate) fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Returns when the container was removed.
    pub(crate) async fn end(mut self) {
        self.container.end_input();
        self.container.ended().await;
    }
}

/// Any of them drops the image's whole default configuration.
fn settings(port: u16) -> [(&'static str, String); 13] {
    let text = str::to_owned;
    [
        ("NODE_ID", text("1")),
        ("PROCESS_ROLES", text("broker,controller")),
        ("CONTROLLER_QUORUM_VOTERS", text("1@localhost:29093")),
        ("CONTROLLER_LISTENER_NAMES", text("CONTROLLER")),
        ("LISTENERS", format!("CONTROLLER://:29093,HOST://:{port}")),
        ("ADVERTISED_LISTENERS", format!("HOST://127.0.0.1:{port}")),
        ("LISTENER_SECURITY_PROTOCOL_MAP", text("CONTROLLER:PLAINTEXT,HOST:PLAINTEXT")),
        ("INTER_BROKER_LISTENER_NAME", text("HOST")),
        ("OFFSETS_TOPIC_REPLICATION_FACTOR", text("1")),
        ("GROUP_INITIAL_REBALANCE_DELAY_MS", text("0")),
        ("AUTO_CREATE_TOPICS_ENABLE", text("true")),
        ("NUM_PARTITIONS", PARTITIONS.to_string()),
        ("HEAP_OPTS", text("-Xms256m -Xmx256m")),
    ]
}
