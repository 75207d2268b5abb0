//! What health tells, line by line.

use std::io;
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const REFUSED: &str = "Connect to ipv4#10.0.0.2:9092 failed: Connection refused";

fn client_of(first_is_up: bool, second_is_up: bool) -> [BrokerReach<'static>; 2] {
    [
        BrokerReach { address: "kafka-1:9092", connected: first_is_up },
        BrokerReach { address: "kafka-2:9092", connected: second_is_up },
    ]
}

/// The second broker fails as librdkafka tells it, at every attempt.
fn second_fails(health: &Health) {
    for suppressed in 0..3 {
        let reason = format!(
            "kafka-2:9092/2: {REFUSED} (after 0ms in state CONNECT, {suppressed} identical error(s) suppressed)"
        );
        health.client_error("BrokerTransportFailure", &reason);
    }
}

/// A member with a group; what it logs from then on, at the default level.
fn told(work: impl FnOnce(&Health, &Readiness, &Alarms)) -> Vec<String> {
    let (readiness, alarms) = (Readiness::new(&COMPONENTS), Alarms::new());
    let health = Health::new("orders", readiness.clone(), alarms.clone());
    health.joined(3);
    health.in_reach(&client_of(true, true), true);
    assert!(readiness.is_ready());
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    // The member's own first lines are not ours to count.
    tracing::subscriber::with_default(subscriber, || {
        readiness.set_ready(KAFKA);
        lines.0.lock().unwrap().clear();
        work(&health, &readiness, &alarms);
    });
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn one_broker_of_several_is_one_line_when_it_goes_and_one_when_it_is_back() {
    let lines = told(|health, readiness, alarms| {
        for _ in 0..10 {
            second_fails(health);
            health.in_reach(&client_of(true, false), true);
        }
        assert!(readiness.is_ready() && alarms.active().is_empty());
        health.in_reach(&client_of(true, true), true);
        health.in_reach(&client_of(true, true), true);
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("kafka-2:9092 cannot be reached"));
    assert!(lines[0].ends_with(REFUSED), "{lines:#?}");
    assert!(lines[1].contains("INFO") && lines[1].contains("kafka-2:9092 is back"), "{lines:#?}");
}

#[test]
fn all_brokers_are_one_alarm_when_they_go_and_one_line_when_one_is_back() {
    let lines = told(|health, readiness, alarms| {
        health.no_broker_in_reach();
        assert_eq!(alarms.active()[0].name, KAFKA_UNREACHABLE, "at once, as the client says so");
        for _ in 0..10 {
            second_fails(health);
            health.in_reach(&client_of(false, false), false);
        }
        assert!(!readiness.is_ready());
        let detail = &alarms.active()[0].detail;
        assert!(detail.contains(REFUSED) && detail.contains("kafka.bootstrap_servers"), "{detail}");
        health.in_reach(&client_of(true, false), false);
        assert!(!readiness.is_ready(), "the coordinator is still looked for");
        health.in_reach(&client_of(true, true), true);
        assert!(readiness.is_ready());
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("ERROR") && lines[0].contains(KAFKA_UNREACHABLE), "{lines:#?}");
    assert!(lines[1].contains("INFO") && lines[1].contains("cleared"), "{lines:#?}");
}

#[test]
fn a_client_that_has_lost_all_its_brokers_and_its_successors_are_one_alarm() {
    let lines = told(|health, _, alarms| {
        health.no_broker_in_reach();
        let only_the_coordinator = [BrokerReach { address: "", connected: false }];
        for _ in 0..3 {
            (0..10).for_each(|_| health.in_reach(&only_the_coordinator, false));
            health.client_replaced();
            let detail = &alarms.active()[0].detail;
            assert!(detail.contains("lost all its brokers") && detail.contains("a new client"), "{detail}");
        }
        assert_eq!(health.clients_replaced(), 3);
        health.in_reach(&client_of(true, true), false);
        assert_eq!(alarms.active(), []);
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
}

#[test]
fn the_alarm_says_what_to_check() {
    for (cause, to_check) in [
        (REFUSED, "`kafka.bootstrap_servers`"),
        ("Disconnected", "`security.protocol`"),
        ("SASL authentication error: Authentication failed", "`sasl.password`"),
        ("error:0A000086:SSL routines::certificate verify failed", "`ssl.ca.location`"),
    ] {
        told(|health, _, alarms| {
            health.no_broker_in_reach();
            health.client_error(
                "any",
                &format!("kafka-1:9092/bootstrap: {cause} (after 3ms in state AUTH_REQ)"),
            );
            let detail = &alarms.active()[0].detail;
            assert!(detail.contains(cause) && detail.contains(to_check), "{detail}");
        });
    }
}

#[test]
fn brokers_that_never_answer_are_an_alarm_although_the_client_does_not_say_so() {
    let lines = told(|health, _, alarms| {
        for _ in 0..LOOKS_WITHOUT_A_BROKER - 1 {
            health.in_reach(&client_of(false, false), false);
        }
        assert!(alarms.active().is_empty(), "a connection that is only being set up is none");
        health.in_reach(&client_of(false, false), false);
        assert_eq!(alarms.active()[0].name, KAFKA_UNREACHABLE);
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[test]
fn a_coordinator_that_is_away_is_told_once_it_is_so_for_seconds() {
    let lines = told(|health, readiness, _| {
        health.in_reach(&client_of(true, true), false);
        assert!(!readiness.is_ready());
        health.in_reach(&client_of(true, true), true);
        for _ in 0..LOOKS_WITHOUT_THE_GROUP + 5 {
            health.in_reach(&client_of(true, true), false);
        }
        health.in_reach(&client_of(true, true), true);
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("coordinator cannot be reached"), "{lines:#?}");
    assert!(lines[1].contains("kafka is ready"), "{lines:#?}");
}

#[test]
fn an_idle_connection_that_ends_is_nothing_to_tell() {
    let lines = told(|health, _, _| {
        health.client_error(
            "BrokerTransportFailure",
            "kafka-1:9092/1: Disconnected (after 600000ms in state UP)",
        );
        health.in_reach(&client_of(false, true), true);
        health.in_reach(&client_of(true, true), true);
    });
    assert_eq!(lines, Vec::<String>::new());
}

#[test]
fn a_topic_that_may_not_be_read_is_an_alarm_of_its_own() {
    let lines = told(|health, readiness, alarms| {
        health.topic_forbidden();
        assert!(!readiness.is_ready());
        assert_eq!(
            (alarms.active()[0].name, alarms.active()[0].subject.as_str()),
            (TOPIC_FORBIDDEN, "orders")
        );
        health.joined(3);
        assert!(readiness.is_ready() && alarms.active().is_empty());
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
}
