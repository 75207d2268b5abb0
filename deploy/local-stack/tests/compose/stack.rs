//! # The stack under test
//!
//! Brought up as a user does it, on free ports, and taken away by the guard if we cannot do it ourselves.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engines::child_process;
use engines::guard::{AtTheEnd, at_the_end};
use ledger::Ledger;
use local_stack::shop::local_client;
use tokio::runtime::Runtime;

use crate::buyers::Api;
use crate::compose::{Compose, docker};
use crate::deliveries::Deliveries;
use crate::evidence::Evidence;
use crate::latencies::Latencies;

pub(crate) const BROKERS: [&str; 3] = ["kafka-1", "kafka-2", "kafka-3"];
pub(crate) const POSTGRES: &str = "postgres";
pub(crate) const ORDER_SERVICE: &str = "order-service";
pub(crate) const CONSUMER: &str = "data-platform-consumer";
/// How long anything may take that must happen. Long, because a loaded machine is no failure.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);
/// How often somebody looks who waits for something that does not tell.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);
const PASSWORD: &str = "of-a-test";

/// A running project, and everything that was ever bought on it.
pub(crate) struct Stack {
    pub(crate) compose: Compose,
    pub(crate) api: Api,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) latencies: Arc<Latencies>,
    pub(crate) deliveries: Deliveries,
    pub(crate) evidence: Evidence,
    took: Duration,
    away: AtTheEnd,
}

impl Stack {
    /// Builds the images if they are not of this source, and waits until everything is healthy.
    pub(crate) fn up(runtime: &Runtime) -> Self {
        println!(
            "compose tests on docker-compose.yml and a Docker engine; its images are built, which takes some minutes the first time"
        );
        let images = ("IMAGE_TAG", "test".to_owned());
        let project = format!("orders-test-{}", std::process::id());
        Compose::new(project.clone(), vec![images.clone()]).run_shown(runtime, &["build", "--quiet"]);

        // Only now: what is free now may not be so some minutes later.
        let ports = free_ports::<6>();
        let names = ["KAFKA_1_PORT", "KAFKA_2_PORT", "KAFKA_3_PORT"];
        let names = names.into_iter().chain(["POSTGRES_PORT", "ORDER_SERVICE_PORT"]);
        let mut values: Vec<(&str, String)> =
            names.chain(["ORDER_SERVICE_MANAGEMENT_PORT"]).zip(ports.iter().map(u16::to_string)).collect();
        values.extend([
            images,
            ("POSTGRES_PASSWORD", PASSWORD.to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
            ("DATA_PLATFORM_TAKES", "50ms".to_owned()),
        ]);
        let compose = Compose::new(project, values);
        let away = ["down", "--volumes", "--remove-orphans", "--timeout", "0"];
        let away = at_the_end(&compose.command(&away)).expect("a guard");

        let began = Instant::now();
        let mut up = compose.command(&["up", "--detach", "--wait"]);
        let (status, said) = child_process::run(&mut up).expect("docker starts");
        let logs = || compose.run(&["logs", "--tail", "50"]);
        assert!(status.success(), "the stack does not come up: {said}{}", logs());
        let took = began.elapsed();
        let [kafka_1, kafka_2, kafka_3, postgres, http, _] = ports;
        let brokers = [kafka_1, kafka_2, kafka_3].map(|port| format!("127.0.0.1:{port}")).join(",");
        let database = format!("postgres://orders:{PASSWORD}@127.0.0.1:{postgres}/orders");
        let deliveries = Deliveries::default();
        for container in compose.containers(CONSUMER) {
            deliveries.follow(&container);
        }
        Self {
            api: Api::new(local_client().expect("a client"), http),
            ledger: Arc::default(),
            latencies: Arc::default(),
            deliveries,
            evidence: Evidence::new(brokers, database),
            took,
            away,
            compose,
        }
    }

    /// For the first line of the output.
    pub(crate) fn describe(&self) -> String {
        let version = |part: &str, command: &[&str]| {
            self.compose.run(&[&["exec", "-T", part], command].concat()).trim().to_owned()
        };
        let postgres = version(POSTGRES, &["postgres", "--version"]);
        let image =
            docker(&["inspect", "--format", "{{.Config.Image}}", &self.compose.containers(BROKERS[0])[0]]);
        format!(
            "docker-compose.yml as project {}: three brokers of {image}, {postgres}; all healthy after {:.1} s",
            self.compose.project(),
            self.took.as_secs_f64()
        )
    }

    /// SIGKILL to every container of a part.
    pub(crate) fn kill(&self, part: &str) {
        self.compose.run(&["kill", "--signal", "KILL", part]);
    }

    /// Starts what is not running of a part, and waits until it is healthy.
    pub(crate) fn start(&self, part: &str) {
        self.compose.run(&["up", "--detach", "--wait", "--no-build", "--no-deps", "--no-recreate", part]);
        if part == CONSUMER {
            for container in self.compose.containers(CONSUMER) {
                self.deliveries.follow(&container);
            }
        }
    }

    /// Whatever the services said that is more than information, for a person who looks into a failure.
    pub(crate) fn show_logs(&self) {
        let logs = self.compose.run(&["logs", "--no-color", ORDER_SERVICE, CONSUMER]);
        for line in logs.lines().filter(|line| !line.contains(r#""level":"INFO""#)) {
            eprintln!("{line}");
        }
    }

    /// Removes containers, networks and volumes.
    pub(crate) fn down(self) {
        self.deliveries.end();
        self.away.now().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Ports that are free now; fixed, so that a part that comes back is where it was.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
