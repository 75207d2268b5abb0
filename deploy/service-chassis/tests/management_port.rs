//! The management port as a probe meets it: over a real connection.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use service_chassis::alarms::Alarms;
use service_chassis::exit;
use service_chassis::management::{self, ManagementSettings, Readiness};
use service_chassis::metrics::Metrics;

/// Far beyond what a page takes, so that a port that hangs fails the test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(30);

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn ask(address: SocketAddr, request_line: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{request_line} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

fn anywhere() -> ManagementSettings {
    ManagementSettings { host: "127.0.0.1".into(), port: 0 }
}

fn metrics() -> Metrics {
    Metrics::of("order-service", "1.2.3")
}

/// Runs the port, and asks from a thread of its own, as a probe in another process would.
async fn with_port(readiness: &Readiness, alarms: &Alarms, probe: impl FnOnce(SocketAddr) + Send + 'static) {
    let server = management::bind(&anywhere(), readiness.clone(), alarms.clone(), metrics()).unwrap();
    let (address, handle) = (server.address(), server.handle());
    let running = tokio::spawn(server.run());
    let asked = tokio::task::spawn_blocking(move || probe(address)).await;
    handle.stop(true).await;
    running.await.unwrap().unwrap();
    asked.unwrap();
}

#[tokio::test]
async fn readiness_follows_its_components_while_liveness_stays() {
    let (readiness, alarms) = (Readiness::new(&["database", "kafka"]), Alarms::new());
    let (seen_ready, seen_alarms) = (readiness.clone(), alarms.clone());
    with_port(&readiness, &alarms, move |address| {
        let (readiness, alarms) = (seen_ready, seen_alarms);
        assert_eq!(ask(address, "GET /health/live").status, 200);
        let starting = ask(address, "GET /health/ready");
        assert_eq!(starting.status, 503);
        let unready = json!({"ready": false, "reason": "starting"});
        let expected = json!({"status": "not ready", "components": {"database": unready, "kafka": unready}, "alarms": []});
        assert_eq!(starting.json(), expected);

        readiness.set_ready("database");
        assert_eq!(ask(address, "GET /health/ready").status, 503);
        readiness.set_ready("kafka");
        alarms.raise("relay-stalled", "order-completed[3]", "no ack for 30s");
        let ready = ask(address, "GET /health/ready");
        assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
        assert_eq!(ready.json()["components"]["kafka"], json!({"ready": true}));
        let alarm = &ready.json()["alarms"][0];
        assert_eq!((&alarm["name"], &alarm["subject"]), (&json!("relay-stalled"), &json!("order-completed[3]")));
        assert_eq!(alarm["detail"], json!("no ack for 30s"));

        readiness.set_unready("database", "connection refused");
        let unready = ask(address, "GET /health/ready");
        assert_eq!(unready.status, 503);
        assert_eq!(unready.json()["components"]["database"]["reason"], json!("connection refused"));
        let live = ask(address, "GET /health/live");
        assert_eq!((live.status, live.json()), (200, unready.json()));
    })
    .await;
    assert!(!readiness.is_ready());
}

#[tokio::test]
async fn build_readiness_and_alarms_are_metrics() {
    let (readiness, alarms) = (Readiness::new(&["database", "kafka"]), Alarms::new());
    let (seen_ready, seen_alarms) = (readiness.clone(), alarms.clone());
    with_port(&readiness, &alarms, move |address| {
        seen_ready.set_ready("kafka");
        seen_alarms.raise("relay-stalled", "order \"completed\"[3]", "no ack for 30s");
        let page = ask(address, "GET /metrics");
        assert_eq!(page.status, 200);
        assert!(
            page.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{}",
            page.head
        );
        for line in [
            r#"build_info{service="order-service",version="1.2.3"} 1"#,
            r#"component_ready{component="database"} 0"#,
            r#"component_ready{component="kafka"} 1"#,
            r#"alarm_active{alarm="relay-stalled",subject="order \"completed\"[3]"} 1"#,
        ] {
            assert!(page.body.lines().any(|shown| shown == line), "{line}\n{}", page.body);
        }
        assert!(page.body.ends_with("# EOF\n"), "{}", page.body);

        seen_alarms.clear("relay-stalled", "order \"completed\"[3]");
        let page = ask(address, "GET /metrics");
        assert!(!page.body.contains("relay-stalled"), "{}", page.body);
    })
    .await;
}

#[tokio::test]
async fn nothing_may_cache_an_answer() {
    with_port(&Readiness::new(&[]), &Alarms::new(), |address| {
        for path in ["/health/live", "/health/ready", "/metrics", "/nothing"] {
            let answer = ask(address, &format!("GET {path}"));
            assert!(answer.head.contains("cache-control: no-store"), "{path}: {}", answer.head);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_a_probe_is_a_problem() {
    with_port(&Readiness::new(&[]), &Alarms::new(), |address| {
        for (request, status) in [("GET /nothing", 404), ("POST /nothing", 404), ("POST /health/live", 405)] {
            let answer = ask(address, request);
            assert_eq!((answer.status, &answer.json()["status"]), (status, &json!(status)), "{request}");
            assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        }
        assert!(ask(address, "POST /health/ready").head.contains("allow: get, head"));
        let head_only = ask(address, "HEAD /health/ready");
        assert_eq!((head_only.status, head_only.body.as_str()), (200, ""));
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_is_one_sentence_that_names_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = ManagementSettings { host: "127.0.0.1".into(), port: taken.local_addr().unwrap().port() };
    let refusal = management::bind(&settings, Readiness::new(&[]), Alarms::new(), metrics()).err().unwrap();
    let sentence = exit::sentence(&refusal);
    assert!(sentence.contains(&format!("port {} of 127.0.0.1 is taken", settings.port)), "{sentence}");
    assert!(sentence.contains("`management.port`"), "{sentence}");
}

#[tokio::test]
async fn a_host_that_is_not_here_is_one_sentence_that_names_the_setting() {
    // An address that is reserved for documentation, so no machine has it.
    let settings = ManagementSettings { host: "192.0.2.1".into(), port: 0 };
    let refusal = management::bind(&settings, Readiness::new(&[]), Alarms::new(), metrics()).err().unwrap();
    let sentence = exit::sentence(&refusal);
    assert!(sentence.contains("`management.host`"), "{sentence}");
}
