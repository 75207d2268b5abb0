//! The health check against a real management port, as a container's engine runs it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde::Deserialize;
use service_chassis::alarms::Alarms;
use service_chassis::exit;
use service_chassis::health_check::{self, HealthCheckError, PATIENCE, Probe};
use service_chassis::management::{self, ManagementSettings, Readiness};
use service_chassis::metrics::Metrics;
use service_chassis::settings::{Loaded, SettingsSource, load_with_environment};

#[derive(Deserialize)]
struct Settings {
    management: ManagementSettings,
}

/// As a service would load them: defaults, with host and port from the environment.
fn settings(host: &str, port: u16) -> Loaded<Settings> {
    let defaults = "[management]\nhost = \"127.0.0.1\"\nport = 8081\n";
    let source = SettingsSource { defaults, environment_prefix: "SHOP", file: None };
    let variables = [("HOST", host.to_owned()), ("PORT", port.to_string())];
    let environment = variables
        .map(|(name, value)| (OsString::from(format!("SHOP__MANAGEMENT__{name}")), OsString::from(value)));
    load_with_environment(&source, environment).unwrap()
}

fn ask(host: &str, port: u16, probe: Probe) -> Result<String, HealthCheckError> {
    let Loaded { settings, report } = settings(host, port);
    health_check::ask(&settings.management, &report, probe)
}

fn refusal(host: &str, port: u16, probe: Probe) -> String {
    exit::sentence(&ask(host, port, probe).unwrap_err())
}

/// Runs the port on this host, and asks from a thread of its own, as a health check in another process would.
async fn with_port(
    host: &str,
    readiness: &Readiness,
    alarms: &Alarms,
    check: impl FnOnce(u16) + Send + 'static,
) {
    let anywhere = ManagementSettings { host: host.to_owned(), port: 0 };
    let server =
        management::bind(&anywhere, readiness.clone(), alarms.clone(), Metrics::of("probe", "1")).unwrap();
    let (port, handle) = (server.address().port(), server.handle());
    let running = tokio::spawn(server.run());
    let checked = tokio::task::spawn_blocking(move || check(port)).await;
    handle.stop(true).await;
    running.await.unwrap().unwrap();
    checked.unwrap();
}

#[tokio::test]
async fn a_ready_service_is_healthy_and_its_alarms_are_told() {
    let (readiness, alarms) = (Readiness::new(&["kafka"]), Alarms::new());
    readiness.set_ready("kafka");
    let raised = alarms.clone();
    with_port("127.0.0.1", &readiness, &alarms, move |port| {
        assert_eq!(ask("127.0.0.1", port, Probe::Ready).unwrap(), "ready");
        assert_eq!(ask("localhost", port, Probe::Live).unwrap(), "live, ready");
        raised.raise("position-lost", "orders[3]", "offset 7\nis gone");
        let told = ask("127.0.0.1", port, Probe::Ready).unwrap();
        assert_eq!(told, "ready; alarm position-lost for orders[3]: offset 7 is gone");
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_not_ready_says_which_component_and_why() {
    let (readiness, alarms) = (Readiness::new(&["database", "kafka", "port"]), Alarms::new());
    readiness.set_unready("database", "connection refused");
    readiness.set_ready("port");
    alarms.raise("kafka-unreachable", "", "no broker answers");
    with_port("127.0.0.1", &readiness, &alarms, |port| {
        let told = "not ready: database (connection refused), kafka (starting); alarm kafka-unreachable: no broker answers";
        assert_eq!(refusal("127.0.0.1", port, Probe::Ready), told);
        assert_eq!(ask("127.0.0.1", port, Probe::Live).unwrap(), format!("live, {told}"));
    })
    .await;
}

#[tokio::test]
async fn a_service_that_listens_on_every_address_is_found() {
    let readiness = Readiness::new(&[]);
    with_port("0.0.0.0", &readiness, &Alarms::new(), |port| {
        assert_eq!(ask("0.0.0.0", port, Probe::Ready).unwrap(), "ready");
    })
    .await;
}

#[test]
fn a_service_that_does_not_run_is_one_sentence_with_the_address_and_what_to_do() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = refusal("127.0.0.1", nobody.port(), Probe::Ready);
    assert!(told.contains(&format!("http://{nobody}/health/ready")), "{told}");
    assert!(told.contains("start the service") && told.contains("`management.port`"), "{told}");
}

#[test]
fn a_service_that_hangs_is_not_waited_for_long() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = Instant::now();
    let told = refusal("127.0.0.1", silent.local_addr().unwrap().port(), Probe::Ready);
    let time = asked.elapsed();
    assert!(told.contains("no answer from") && told.contains("timeout"), "{told}");
    assert!(time >= PATIENCE && time < Duration::from_secs(3), "{time:?}");
}

/// Answers one request with these bytes.
fn stranger(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Read::read(&mut stream, &mut [0; 1024]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    address
}

#[test]
fn another_program_on_the_port_is_not_taken_for_a_healthy_service() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi", "200"),
        (
            "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "302",
        ),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "404"),
    ] {
        let told = refusal("127.0.0.1", stranger(answer).port(), Probe::Ready);
        assert!(told.contains(status) && told.contains("another program has the port"), "{told}");
    }
}

#[test]
fn a_port_that_the_system_chooses_cannot_be_asked_and_the_setting_is_at_fault() {
    let error = ask("127.0.0.1", 0, Probe::Ready).unwrap_err();
    let told = exit::sentence(&error);
    assert!(told.contains("management.port") && told.contains("SHOP__MANAGEMENT__PORT"), "{told}");
    assert!(told.contains("only at a fixed port"), "{told}");
    assert!(matches!(error, HealthCheckError::NoFixedPort(_)));
}
