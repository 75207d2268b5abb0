//! Several events in one request.

use std::sync::Arc;

use data_platform_consumer::sink::{DeliveryFailure, FailureKind};
use serde_json::json;
use tokio::time::timeout;

use crate::server::{Answer, Received, Server};
use crate::sinks::{DEADLINE, decoded, deliver, deliver_all, event, sink};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ONE_REQUEST: [(&str, &str); 2] = [("BATCH", "10"), ("REQUESTS", "1")];

fn order_ids(request: &Received) -> Vec<i64> {
    let elements = request.json();
    let ids =
        elements.as_array().unwrap().iter().map(|element| element["event"]["orderId"].as_i64().unwrap());
    ids.collect()
}

#[tokio::test]
async fn each_element_has_its_key_its_trace_and_the_event_as_it_came() {
    let server = Server::start(|_| Answer::of(200)).await;
    let sink = sink(&server.url("http"), &ONE_REQUEST);
    let value = br#"{"occurredAt":"2025-05-29T01:43","orderId":15, "later" : 1.50}"#;
    let headers = [("traceparent", TRACE), ("tracestate", "a=\"b\\\"\tc")];
    deliver(&sink, &decoded(7, value, &headers)).await.unwrap();
    let [request] = server.received().try_into().unwrap();
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("idempotency-key"), None);
    let expected = json!([{
        "idempotencyKey": "order-completed-2-7",
        "traceparent": TRACE,
        "tracestate": "a=\"b\\\"\tc",
        "event": { "occurredAt": "2025-05-29T01:43", "orderId": 15, "later": 1.5 },
    }]);
    assert_eq!(request.json(), expected);
    assert!(String::from_utf8(request.body).unwrap().contains(std::str::from_utf8(value).unwrap()));
}

#[tokio::test]
async fn events_that_wait_go_together_and_the_one_at_fault_is_found() {
    let server =
        Server::start(|request| Answer::of(if order_ids(request).contains(&4) { 422 } else { 200 })).await;
    let sink = sink(&server.url("http"), &ONE_REQUEST);
    let outcomes = deliver_all(&sink, (0..10).map(event).collect()).await;
    for (order_id, outcome) in outcomes.iter().enumerate() {
        let expected = (order_id == 4).then_some(FailureKind::Rejected);
        assert_eq!(outcome.as_ref().err().map(DeliveryFailure::kind), expected, "{order_id}");
    }
    let taken: Vec<i64> =
        server.received().iter().map(order_ids).filter(|ids| !ids.contains(&4)).flatten().collect();
    let mut once = taken.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((taken.len(), once.len()), (9, 9), "each neighbour was taken once");
    assert!(server.received().len() < 10, "they went together");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_event_that_makes_the_platform_fail_takes_its_neighbours_with_it_once() {
    let server =
        Server::start(|request| Answer::of(if order_ids(request).contains(&4) { 500 } else { 200 })).await;
    let sink = sink(&server.url("http"), &ONE_REQUEST);
    let all = || (0..10).map(event).collect();
    let failed = deliver_all(&sink, all()).await.iter().filter(|outcome| outcome.is_err()).count();
    assert!(failed > 1, "it came in company");
    let again = deliver_all(&sink, all()).await;
    assert_eq!(again.iter().filter(|outcome| outcome.is_err()).count(), 1);
    assert!(again[4].is_err());
}

#[tokio::test]
async fn a_platform_that_is_away_fails_all_of_a_batch_at_once() {
    let server = Server::start(|_| Answer::of(503)).await;
    let sink = sink(&server.url("http"), &ONE_REQUEST);
    let outcomes = deliver_all(&sink, (0..10).map(event).collect()).await;
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().kind() == FailureKind::Unavailable));
    assert!(server.received().len() < 10);
}

#[tokio::test]
async fn no_more_requests_run_at_a_time_than_may() {
    let server = Server::start(|_| Answer::Silence).await;
    let sink = sink(&server.url("http"), &[("BATCH", "2"), ("REQUESTS", "3"), ("TIMEOUT", "3s")]);
    let calls: Vec<_> = (0..20)
        .map(|order_id| {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move { deliver(&sink, &event(order_id)).await })
        })
        .collect();
    let three = async {
        while server.received().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, three).await.expect("three requests");
    assert_eq!(server.connections(), 3);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}
