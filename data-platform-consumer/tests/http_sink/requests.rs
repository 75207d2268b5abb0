//! What the platform gets.

use crate::server::{Answer, Server};
use crate::sinks::{decoded, deliver, event, settings, sink};

const VALUE: &[u8] = include_bytes!("../../../shared-messages/golden/order-completed.v1.json");
const ID: &str = "01971995-4f2a-7c1e-9a10-3d2c5b7e8f90";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn an_event_goes_as_it_came_with_its_key_its_trace_and_its_attributes() {
    let server = Server::start(|_| Answer::of(202)).await;
    let sink = sink(&server.url("http"), &[("HEADERS__AUTHORIZATION", "Bearer sesame")]);
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_type", "order-completed.v1"),
        ("ce_source", "/order-service"),
        ("ce_id", ID),
        ("ce_subject", "not this one"),
        ("ce_subject", "15 €"),
        ("ce_partner", "of another"),
        ("ce_Not-a-name", "x"),
        ("traceparent", TRACE),
        ("tracestate", "vendor=1"),
        ("__TypeId__", "of Spring"),
    ];
    deliver(&sink, &decoded(7, VALUE, &headers)).await.unwrap();

    let [request] = server.received().try_into().unwrap();
    assert_eq!(request.line, "POST /orders HTTP/1.1");
    assert_eq!(request.body, VALUE);
    for (name, value) in [
        ("content-type", Some("application/json")),
        ("idempotency-key", Some(ID)),
        ("traceparent", Some(TRACE)),
        ("tracestate", Some("vendor=1")),
        ("ce-specversion", Some("1.0")),
        ("ce-type", Some("order-completed.v1")),
        ("ce-source", Some("/order-service")),
        ("ce-id", Some(ID)),
        ("ce-subject", Some("15%20%E2%82%AC")),
        ("ce-partner", Some("of%20another")),
        ("ce-not-a-name", None),
        ("__typeid__", None),
        ("authorization", Some("Bearer sesame")),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn an_event_of_the_original_demonstration_is_no_cloud_event_and_is_known_by_its_place() {
    let server = Server::start(|_| Answer::of(200)).await;
    deliver(&sink(&server.url("http"), &[]), &event(15)).await.unwrap();
    let [request] = server.received().try_into().unwrap();
    assert_eq!(request.header("idempotency-key"), Some("order-completed-2-15"));
    assert_eq!(request.header("ce-id"), None);
    assert_eq!(request.header("traceparent"), None);
    assert_eq!(request.body, event(15).record.value().unwrap());
}

#[tokio::test]
async fn a_part_of_the_attributes_is_no_cloud_event() {
    let server = Server::start(|_| Answer::of(200)).await;
    let headers = [("ce_specversion", "1.0"), ("ce_type", "order-completed.v1"), ("ce_id", ID)];
    deliver(&sink(&server.url("http"), &[]), &decoded(7, VALUE, &headers)).await.unwrap();
    let [request] = server.received().try_into().unwrap();
    assert_eq!((request.header("ce-id"), request.header("idempotency-key")), (None, Some(ID)));
}

#[tokio::test]
async fn a_repeat_has_the_same_key_and_the_same_connection() {
    let server = Server::start(|_| Answer::of(500)).await;
    let sink = sink(&server.url("http"), &[]);
    for _ in 0..20 {
        deliver(&sink, &event(15)).await.unwrap_err();
    }
    let keys: Vec<_> = server
        .received()
        .iter()
        .map(|request| request.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert_eq!(keys, vec!["order-completed-2-15"; 20]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn secrets_are_not_shown() {
    let shown = settings("http://localhost/?token=sesame", &[("HEADERS__AUTHORIZATION", "Bearer sesame")]);
    assert!(!format!("{shown:?}").contains("sesame"), "{shown:?}");
}
