//! What the running consumer parks is what an operator finds, down to the event's identity.

use std::sync::Arc;
use std::time::Instant;

use data_platform_consumer::consumer_group;
use data_platform_consumer::health::{COMPONENTS, Health};
use data_platform_consumer::settings::Settings;
use service_chassis::alarms::Alarms;
use service_chassis::management::Readiness;

use crate::broker::{Broker, DEAD_LETTERS, DEADLINE, TOPIC};
use crate::commands::{dead_letters, open, replay, settings};
use crate::platform::Platform;

/// Runs a member of the group until so many dead letters are in the topic.
fn consume_until_parked(broker: &Broker, platform: &Arc<Platform>, dead_letters: i64) {
    consume_until(&settings(&broker.address), platform, || broker.ends(DEAD_LETTERS) == [dead_letters]);
}

/// Runs a member of the group until that is so.
fn consume_until(settings: &Settings, platform: &Arc<Platform>, is_so: impl Fn() -> bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let Settings { kafka, delivery, .. } = settings.clone();
    let health = Health::new(TOPIC, Readiness::new(&COMPONENTS), Alarms::new());
    let sink = platform.sink_of("service");
    let mut member = consumer_group::join(kafka, &delivery, sink, health, runtime.handle().clone()).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never comes to that");
        std::thread::yield_now();
    }
    member.stop();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, member.left()).await }).unwrap().unwrap();
    runtime.shutdown_background();
}

#[test]
fn what_the_service_parks_is_listed_and_replayed_as_the_same_event() {
    let broker = Broker::with_partitions(1);
    broker.complete(0, br#"{"occurredAt":"2025-05-29T01:43:46.137371Z","orderId":1}"#);
    broker.complete(0, b"no event");
    let refusing = Platform::refusing(&[1]);
    consume_until_parked(&broker, &refusing, 2);
    let listing = dead_letters(&broker.address, "list --json").json();
    let causes: Vec<&str> = listing["deadLetters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["cause"].as_str().unwrap())
        .collect();
    // Which of the two is parked first is nobody's promise.
    assert!(causes.contains(&"rejected") && causes.contains(&"undecodable"), "{listing}");
    let taking = Platform::taking_everything();
    replay(&broker.address, &taking, "--all --cause rejected --yes").said();
    assert_eq!(taking.taken()[0].idempotency_key, refusing.called_as()[0], "the platform knows it again");
    assert_eq!(open(&broker.address).len(), 1);
    assert_eq!(broker.ends(TOPIC), [2]);
}

#[test]
fn partitions_that_stopped_at_the_ceiling_are_told_and_go_on_when_an_operator_says_so() {
    let broker = Broker::with_partitions(2);
    (0..3).for_each(|_| broker.complete(0, b"no event"));
    let platform = Platform::refusing(&[]);
    let mut impatient = settings(&broker.address);
    impatient.delivery.dead_letter_ceiling.count = 2;
    let said = dead_letters(&broker.address, "resume --yes").said();
    assert!(said.starts_with("no partition of order-completed is known to have stopped"), "{said}");
    consume_until(&impatient, &platform, || {
        dead_letters(&broker.address, "resume").said().contains("[0] of order-completed stopped")
    });
    assert_eq!(broker.ends(DEAD_LETTERS), [2, 0], "and asking alone writes nothing");
    let said = dead_letters(&broker.address, "resume --partition 1 --yes").said();
    assert!(said.contains("none of them is meant by that"), "{said}");
    let refused =
        dead_letters(&broker.address, "resume --partition 0 --partition 7 --yes").ended.unwrap_err();
    assert_eq!(refused.to_string(), "order-completed has no partition 7: it has 0 to 1; nothing was done");
    assert_eq!(broker.ends(DEAD_LETTERS), [2, 0]);
    broker.refuse_a_write();
    let answer = dead_letters(&broker.address, "resume --yes --kafka-timeout 5s");
    assert!(answer.said.starts_with("0 of 1 partitions go on"), "{answer:?}");
    let refused = answer.ended.unwrap_err().to_string();
    assert!(refused.contains("1 of 1 partitions") && refused.contains("stay stopped"), "{refused}");
    assert!(!refused.contains("resol") && refused.contains("have Write granted"), "{refused}");
    assert_eq!(broker.ends(DEAD_LETTERS), [2, 0]);
    let said = dead_letters(&broker.address, "resume --yes").said();
    assert!(said.starts_with("1 of 1 partitions go on"), "{said}");
    consume_until(&impatient, &platform, || broker.ends(DEAD_LETTERS) == [4, 0]);
    assert_eq!(open(&broker.address), ["0:0", "0:1", "0:3"], "an operator's word is no dead letter");
}
