//! Sessions, and their loss.

use std::sync::Arc;

use data_platform_consumer::sink::FailureKind;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::cases;
use crate::events::{deliver, deliver_all, event};
use crate::rig::Rig;

cases!(
    a_session_that_was_lost_is_replaced,
    a_statement_that_takes_too_long_is_given_up_and_the_next_is_written,
    a_server_that_falls_silent_is_given_up_and_the_next_call_has_a_new_session,
    no_more_sessions_are_open_than_the_settings_say_and_they_are_used_again,
    a_commit_is_durable_whatever_the_database_thinks_of_it,
);

const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity \
                        WHERE datname = current_database() AND application_name = 'data-platform-consumer'";

async fn a_session_that_was_lost_is_replaced(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let sink = platform.sink(&[]);
    deliver(&sink, &event(1)).await.unwrap();
    platform
        .rows(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'data-platform-consumer'",
        )
        .await;
    // Whether it is noticed before or by the next call, it is no more than one call that fails.
    if let Err(failure) = deliver(&sink, &event(2)).await {
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{failure}");
    }
    deliver(&sink, &event(3)).await.unwrap();
}

async fn a_statement_that_takes_too_long_is_given_up_and_the_next_is_written(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let sink = platform.sink(&[("STATEMENT_TIMEOUT", "200ms")]);
    let mut session = platform.session().await;
    let holding = session.transaction().await.unwrap();
    holding.batch_execute("LOCK TABLE order_completed_events IN EXCLUSIVE MODE").await.unwrap();
    let failure = deliver(&sink, &event(1)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert!(failure.to_string().contains("statement timeout"), "{failure}");
    holding.rollback().await.unwrap();
    deliver(&sink, &event(1)).await.unwrap();
    assert_eq!(platform.number("SELECT deliveries FROM order_completed_events").await, 1);
}

async fn a_server_that_falls_silent_is_given_up_and_the_next_call_has_a_new_session(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = platform.place();
    let url = platform.url().replacen(&place, &listener.local_addr().unwrap().to_string(), 1);
    let (silence, silenced) = oneshot::channel();
    let (is_silent, fallen_silent) = oneshot::channel();
    tokio::spawn(async move {
        // The first connection falls silent when it is told to, with nothing closed; the second works.
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(&place).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => {}
            told = silenced => told.unwrap(),
        }
        is_silent.send(()).unwrap();
        let (mut next, _) = listener.accept().await.unwrap();
        copy_bidirectional(&mut next, &mut TcpStream::connect(&place).await.unwrap()).await.ok();
        drop((client, server));
    });
    let sink = platform.sink(&[("URL", &url), ("STATEMENT_TIMEOUT", "200ms")]);
    deliver(&sink, &event(1)).await.unwrap();
    silence.send(()).unwrap();
    fallen_silent.await.unwrap();
    let failure = deliver(&sink, &event(2)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert_eq!(failure.to_string(), "the database did not answer within 1.2s");
    deliver(&sink, &event(2)).await.unwrap();
}

async fn no_more_sessions_are_open_than_the_settings_say_and_they_are_used_again(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    let sink = platform.sink(&[("CONNECTIONS", "3"), ("BATCH", "2")]);
    for _ in 0..3 {
        for outcome in deliver_all(&sink, (0..100).map(event).collect()).await {
            outcome.unwrap();
        }
        let open = platform.number(SESSIONS).await;
        assert!((1..=3).contains(&open), "{open} sessions");
    }
    let started = "SELECT count(DISTINCT backend_start) FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'data-platform-consumer' \
                   AND backend_start < (SELECT min(last_received_at) FROM order_completed_events)";
    assert_eq!(
        platform.number(started).await,
        platform.number(SESSIONS).await,
        "all of them were open before"
    );
}

async fn a_commit_is_durable_whatever_the_database_thinks_of_it(rig: Arc<Rig>) {
    let platform = rig.platform().await;
    platform
        .execute(
            "CREATE TABLE seen (durable text); \
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN INSERT INTO seen VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END'; \
             CREATE TRIGGER look AFTER INSERT ON order_completed_events EXECUTE FUNCTION look(); \
             DO 'BEGIN EXECUTE format(''ALTER DATABASE %I SET synchronous_commit = off'', current_database()); END'",
        )
        .await;
    assert_eq!(platform.rows("SHOW synchronous_commit").await[0].get::<_, &str>(0), "off");
    deliver(&platform.sink(&[]), &event(1)).await.unwrap();
    assert_eq!(platform.rows("SELECT durable FROM seen").await[0].get::<_, &str>(0), "on");
}
