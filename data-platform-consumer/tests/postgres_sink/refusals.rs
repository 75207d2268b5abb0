//! What the database does not take.

use std::sync::Arc;

use data_platform_consumer::sink::postgres::PostgresSink;
use data_platform_consumer::sink::{DeliveryFailure, FailureKind};

use crate::cases;
use crate::events::{decoded, deliver, deliver_all, event};
use crate::rig::{Rig, settings};

cases!(
    an_event_that_the_database_refuses_is_found_and_its_neighbours_are_written_once,
    another_orders_event_under_a_known_key_is_rejected_and_not_taken_for_a_repeat,
    a_row_that_a_trigger_drops_is_for_an_operator,
    a_body_that_is_no_text_is_rejected_and_holds_up_nobody,
    a_missing_table_is_for_an_operator_and_is_written_to_once_it_is_there,
    a_user_who_may_not_write_is_for_an_operator,
    a_wrong_password_or_database_is_for_an_operator,
    a_database_that_is_away_is_a_readable_cause,
);

async fn an_event_that_the_database_refuses_is_found_and_its_neighbours_are_written_once(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    platform.execute("ALTER TABLE order_completed_events ADD CHECK (order_id <> 33)").await;
    let outcomes = deliver_all(&platform.sink(&[]), (0..100).map(event).collect()).await;
    for (order_id, outcome) in outcomes.iter().enumerate() {
        let expected = (order_id == 33).then_some(FailureKind::Rejected);
        assert_eq!(outcome.as_ref().err().map(DeliveryFailure::kind), expected, "{order_id}");
    }
    let cause = outcomes[33].as_ref().unwrap_err().to_string();
    assert!(cause.contains("violates check constraint") && cause.contains("23514"), "{cause}");
    assert!(!cause.contains("order-completed-2-33"), "the row is not told: {cause}");
    let once = "SELECT count(*) FILTER (WHERE deliveries = 1) FROM order_completed_events";
    assert_eq!(platform.number(once).await, 99);
}

async fn another_orders_event_under_a_known_key_is_rejected_and_not_taken_for_a_repeat(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let sink = platform.sink(&[]);
    deliver(&sink, &event(7)).await.unwrap();
    // As after the topic was created anew: the same place, another order.
    let other = decoded(7, br#"{"occurredAt":"2025-05-29T01:43","orderId":8}"#);
    let outcomes = deliver_all(&sink, vec![event(1), other, event(2), event(7)]).await;
    let failure = outcomes[1].as_ref().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Rejected);
    assert!(
        failure.to_string().contains("order-completed-2-7") && failure.to_string().contains("another order"),
        "{failure}"
    );
    assert!([0, 2, 3].iter().all(|other| outcomes[*other].is_ok()), "{outcomes:?}");
    assert_eq!(platform.number("SELECT count(*) FROM order_completed_events WHERE order_id = 8").await, 0);
    assert_eq!(platform.number("SELECT count(*) FROM order_completed_events").await, 3);
}

async fn a_row_that_a_trigger_drops_is_for_an_operator(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    platform
        .execute(
            "CREATE FUNCTION dropped() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER dropping BEFORE INSERT ON order_completed_events FOR EACH ROW EXECUTE FUNCTION dropped()",
        )
        .await;
    let failure = deliver(&platform.sink(&[]), &event(15)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Misconfigured, "{failure}");
    assert!(failure.to_string().contains("trigger"), "{failure}");
}

async fn a_body_that_is_no_text_is_rejected_and_holds_up_nobody(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let sink = platform.sink(&[]);
    let value = b"{\"occurredAt\":\"2025-05-29T01:43\",\"orderId\":15,\"later\":\"\xff\"}";
    let failure = deliver(&sink, &decoded(7, value)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unfit);
    assert!(failure.to_string().contains("UTF-8"), "{failure}");
    deliver(&sink, &event(15)).await.unwrap();
}

async fn a_missing_table_is_for_an_operator_and_is_written_to_once_it_is_there(rig: Arc<Rig>) {
    let platform = rig.empty_platform().await;
    let sink = platform.sink(&[]);
    let failure = deliver(&sink, &event(15)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Misconfigured);
    assert!(failure.to_string().contains("data-platform-consumer sink prepare"), "{failure}");
    data_platform_consumer::sink::postgres::prepare(&platform.settings(&[])).await.unwrap();
    deliver(&sink, &event(15)).await.unwrap();
    // And when it goes while sessions are open.
    platform.execute("DROP TABLE order_completed_events").await;
    assert_eq!(deliver(&sink, &event(16)).await.unwrap_err().kind(), FailureKind::Misconfigured);
    data_platform_consumer::sink::postgres::prepare(&platform.settings(&[])).await.unwrap();
    deliver(&sink, &event(16)).await.unwrap();
}

async fn a_user_who_may_not_write_is_for_an_operator(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let role = format!("reader_{}", platform.number("SELECT txid_current()").await);
    platform
        .execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'reader'; GRANT SELECT ON order_completed_events TO {role}"
        ))
        .await;
    let (_, place) = platform.url().rsplit_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let url = format!("postgres://{role}:reader@{place}");
    let sink = PostgresSink::new(&settings(&[("URL", &url)])).unwrap();
    let failure = deliver(&sink, &event(15)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Misconfigured);
    assert!(failure.to_string().contains("grant"), "{failure}");
    platform.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

async fn a_wrong_password_or_database_is_for_an_operator(rig: Arc<Rig>) {
    let platform = rig.empty_platform().await;
    let (address, _) = platform.url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (_, place) = platform.url().rsplit_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    for (url, cure) in [
        (format!("{address}/nowhere"), "CREATE DATABASE"),
        (format!("postgres://postgres:sesame@{place}"), "password"),
    ] {
        let sink = PostgresSink::new(&settings(&[("URL", &url)])).unwrap();
        let failure = deliver(&sink, &event(15)).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Misconfigured, "{failure}");
        assert!(failure.to_string().contains(cure) && !failure.to_string().contains("sesame"), "{failure}");
    }
}

async fn a_database_that_is_away_is_a_readable_cause(_: Arc<Rig>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgres://shop:sesame@127.0.0.1:{port}/platform");
    let silent = PostgresSink::new(&settings(&[("URL", &url), ("CONNECT_TIMEOUT", "200ms")])).unwrap();
    let failure = deliver(&silent, &event(15)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert_eq!(failure.to_string(), "the database did not answer within 200ms");

    drop(listener);
    let sink = PostgresSink::new(&settings(&[("URL", &url)])).unwrap();
    let failure = deliver(&sink, &event(15)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert!(failure.to_string().contains("Connection refused"), "{failure}");
    assert!(!failure.to_string().contains("sesame"), "{failure}");
}
