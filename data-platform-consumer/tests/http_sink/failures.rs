//! A platform that does not take what it is given.

use std::time::{Duration, Instant};

use data_platform_consumer::sink::{DeliveryFailure, FailureKind};

use crate::server::{Answer, Server};
use crate::sinks::{deliver, event, sink};

async fn failure_of(answer: Answer) -> DeliveryFailure {
    let server = Server::start(move |_| answer.clone()).await;
    deliver(&sink(&server.url("http"), &[("TIMEOUT", "3s")]), &event(15)).await.unwrap_err()
}

fn whole(status: u16, headers: &'static str, body: &str) -> Answer {
    Answer::Whole { status, headers, body: body.to_owned() }
}

#[tokio::test]
async fn a_platform_that_does_not_answer_in_time_is_away() {
    let server = Server::start(|_| Answer::Silence).await;
    let sink = sink(&server.url("http"), &[("TIMEOUT", "200ms"), ("CONNECT_TIMEOUT", "200ms")]);
    let begin = Instant::now();
    let failure = deliver(&sink, &event(15)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert_eq!(failure.to_string(), "the platform did not answer within 200ms");
    assert!(begin.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_platform_that_asks_for_a_wait_throttles() {
    let failure = failure_of(whole(429, "retry-after: 7\r\n", "slow down")).await;
    assert_eq!(failure.kind(), FailureKind::Throttled { retry_after: Some(Duration::from_secs(7)) });
    let failure = failure_of(whole(503, "Retry-After: 7\r\n", "")).await;
    assert_eq!(failure.kind(), FailureKind::Throttled { retry_after: Some(Duration::from_secs(7)) });
}

#[tokio::test]
async fn an_error_of_the_platform_is_unavailable_and_one_of_the_event_is_rejected() {
    let failure = failure_of(whole(500, "", "out of\nmemory")).await;
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert_eq!(failure.to_string(), "the platform answered 500 Internal Server Error: out of memory");
    assert_eq!(failure_of(whole(400, "", "no such user")).await.kind(), FailureKind::Rejected);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_| Answer::of(200)).await;
    let location: &'static str = format!("location: {}\r\n", elsewhere.url("http")).leak();
    for status in [301, 307, 308] {
        assert_eq!(failure_of(whole(status, location, "")).await.kind(), FailureKind::Misconfigured);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none_even_if_it_began_well() {
    for answer in [Answer::Close, Answer::BreakOff(200)] {
        let failure = failure_of(answer.clone()).await;
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{answer:?}: {failure}");
        assert!(failure.to_string().starts_with("the platform broke off: "), "{failure}");
    }
    assert_eq!(
        failure_of(Answer::BreakOff(400)).await.kind(),
        FailureKind::Rejected,
        "what it said, it said"
    );
}

#[tokio::test]
async fn nobody_there_is_a_readable_cause_and_after_a_broken_connection_a_new_one_is_opened() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    drop(listener);
    let failure = deliver(&sink(&url, &[]), &event(15)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    let text = failure.to_string();
    assert!(text.starts_with("the platform cannot be reached: Connection refused"), "{text}");

    let first = std::sync::atomic::AtomicBool::new(true);
    let breaks_once = move |_: &_| {
        if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            Answer::BreakOff(200)
        } else {
            Answer::of(200)
        }
    };
    let server = Server::start(breaks_once).await;
    let sink = sink(&server.url("http"), &[]);
    deliver(&sink, &event(15)).await.unwrap_err();
    deliver(&sink, &event(15)).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_long_answer_is_not_read_to_its_end() {
    let server = Server::start(|_| Answer::Endless(200)).await;
    deliver(&sink(&server.url("http"), &[]), &event(15)).await.unwrap();
    let failure = failure_of(Answer::Endless(422)).await;
    assert_eq!(failure.kind(), FailureKind::Rejected);
    assert!(failure.to_string().len() < 300);
}
