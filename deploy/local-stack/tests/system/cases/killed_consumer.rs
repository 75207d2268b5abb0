//! SIGKILL in the middle of many slow calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::events::{Event, EventProducer};
use crate::platform::Platform;
use crate::scene::Scene;

const EVENTS: usize = 400;
/// So many calls may be on the wire (`delivery.in_flight_limit`).
const CALLS: usize = 100;

/// Every third event is held, until as many calls as may be are on the wire, and events in front of them and behind them have
/// finished: what is committed then lies before the first one that has not, in each partition, and the successor delivers all
/// that was not taken.
pub(crate) async fn skips_nothing(scene: Scene) {
    let servers = scene.kafka().bootstrap_servers();
    let topic = scene.topic.clone();
    let events = tokio::task::spawn_blocking(move || {
        let mut producer = EventProducer::new(&servers, &topic, i64::try_from(EVENTS).expect("few"));
        for _ in 0..EVENTS {
            producer.send();
            producer.poll(Duration::ZERO);
        }
        producer.acknowledged()
    });
    let events: Vec<Event> = events.await.expect("no panic");
    let slow: BTreeSet<String> = events.iter().step_by(3).map(|event| event.id.clone()).collect();
    let held = slow.clone();
    let platform = Platform::that_holds(move |event| held.contains(event)).await;
    let url = platform.url();
    let http = [
        ("SINK__KIND", "http"),
        ("SINK__HTTP__URL", url.as_str()),
        // They are slow, and no failures.
        ("SINK__HTTP__TIMEOUT", "4m"),
        ("KAFKA__COMMIT_INTERVAL", "100ms"),
    ];

    let killed = scene.consumer("killed", &http);
    let seen = platform.until("as many slow calls as may be", |events| events.held.len() == CALLS).await;
    let first_held = lowest_offsets(&events, &seen.held);
    let behind = events.iter().filter(|event| {
        seen.taken.contains(&event.id)
            && first_held.get(&event.partition).is_some_and(|held| event.offset > *held)
    });
    assert!(behind.count() >= CALLS, "many have finished out of order");
    let committable: i64 = first_held.values().sum();
    scene.so_many_are_committed(committable).await;
    killed.process.process().kill();
    killed.process.exited().await;
    assert_eq!(scene.committed_records(), committable, "exactly what lies before the first slow one");

    platform.takes_everything();
    let successor = scene.consumer("successor", &http);
    let all: BTreeSet<String> = events.iter().map(|event| event.id.clone()).collect();
    platform.until("nothing was skipped", |events| events.taken == all).await;
    scene.so_many_are_committed(i64::try_from(EVENTS).expect("few")).await;
    assert!(successor.process.stop().await.success(), "SIGTERM ends it with 0");
}

/// In each partition the first of these.
fn lowest_offsets(events: &[Event], some: &BTreeSet<String>) -> BTreeMap<i32, i64> {
    let mut lowest = BTreeMap::new();
    for event in events.iter().filter(|event| some.contains(&event.id)) {
        let known = lowest.entry(event.partition).or_insert(event.offset);
        *known = event.offset.min(*known);
    }
    lowest
}
