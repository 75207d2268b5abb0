//! What is in the topic reaches the platform, in its key's order, and is committed only then.

use std::time::Duration;

use data_platform_consumer::status::{IntakeStatus, Status};

use crate::broker::Broker;
use crate::member::Member;
use crate::platform::{Answer, Platform, first_seen, times_taken};

/// No commit but that of a stop or a handing over.
const NO_COMMITS: (&str, &str) = ("KAFKA__COMMIT_INTERVAL", "1h");

#[test]
fn records_are_delivered_and_committed_and_a_restart_continues_there() {
    let (broker, platform) = (Broker::with_partitions(2), Platform::taking_everything());
    (1..=3).for_each(|order| broker.order(0, order));
    let member = Member::join("first", &broker, &platform, &[]);
    let taken = platform.await_taken("what was there before", |taken| taken.len() == 3);
    assert_eq!(taken.iter().map(|receipt| receipt.offset).collect::<Vec<_>>(), [0, 1, 2]);
    broker.order(1, 4);
    platform.await_taken("what came later", |taken| taken.len() == 4);
    broker.await_committed(0, 3);
    broker.await_committed(1, 1);
    member.stop();

    broker.order(0, 5);
    let member = Member::join("second", &broker, &platform, &[]);
    let taken = platform.await_taken("what came meanwhile", |taken| taken.len() >= 5);
    member.stop();
    assert_eq!(platform.taken(), taken, "nothing is delivered twice over a clean restart");
    assert_eq!((taken[4].order_id, taken[4].offset), (5, 3));
}

#[test]
fn records_of_every_compression_are_read() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    (1..).zip(codecs).for_each(|(order, codec)| broker.compressed_order(codec, order));
    let member = Member::join("only", &broker, &platform, &[]);
    let taken = platform.await_taken("all of them", |taken| taken.len() == codecs.len());
    assert_eq!(first_seen(&taken), [1, 2, 3, 4, 5]);
    member.stop();
}

#[test]
fn a_stop_waits_for_what_is_on_its_way_and_commits_it() {
    let slow = |_: &_| Answer::TakeAfter(Duration::from_secs(1));
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(slow));
    (1..=3).for_each(|order| broker.order(0, order));
    let patient = [NO_COMMITS, ("DELIVERY__DRAIN_TIMEOUT", "30s")];
    let member = Member::join("only", &broker, &platform, &patient);
    platform.await_calls("three calls", |calls| calls.len() == 3);
    assert_eq!(broker.committed(0), None, "nothing has finished");
    member.stop();
    assert_eq!((platform.taken().len(), broker.committed(0)), (3, Some(3)));
}

#[test]
fn a_slow_record_holds_back_the_committed_position_and_its_key_only() {
    let slow = |order: i64| if order == 1 { Answer::TakeAtTheGate } else { Answer::Take };
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(move |call| slow(call.order_id)));
    broker.keyed_order(0, "a", 1);
    broker.keyed_order(0, "a", 2);
    broker.keyed_order(0, "b", 3);
    broker.keyed_order(0, "b", 4);
    let member = Member::join("only", &broker, &platform, &[]);
    let taken = platform.await_taken("the other key", |taken| taken.len() == 2);
    assert_eq!(first_seen(&taken), [3, 4]);
    broker.order(0, 5);
    platform.await_taken("later records", |taken| taken.len() == 3);
    assert_eq!(broker.committed(0), None);
    platform.open_gate();
    let taken = platform.await_taken("the slow key", |taken| taken.len() == 5);
    assert_eq!(first_seen(&taken), [3, 4, 5, 1, 2]);
    broker.await_committed(0, 5);
    member.stop();
}

#[test]
fn a_platform_that_fails_and_recovers_gets_everything_in_key_order() {
    let (broker, platform) = (Broker::with_partitions(2), Platform::with(|_| Answer::Fail));
    for order in 1..=40 {
        broker.keyed_order(i32::from(order % 2 == 0), &format!("key {}", order % 4), order);
    }
    let member = Member::join("only", &broker, &platform, &[]);
    let calls = platform.await_calls("every key is tried again", |calls| {
        (1..=4).all(|order| calls.iter().filter(|call| call.order_id == order).count() >= 3)
    });
    assert!(calls.iter().all(|call| call.order_id <= 4), "a key went on past its failing record: {calls:?}");
    assert_eq!((broker.committed(0), broker.committed(1)), (None, None));

    platform.change_to(|_| Answer::Take);
    let taken = platform.await_taken("all of it", |taken| taken.len() == 40);
    for key in 0..4 {
        let of_key = taken.iter().map(|receipt| receipt.order_id).filter(|order| order % 4 == key);
        assert!(of_key.is_sorted(), "key {key}: {taken:?}");
    }
    broker.await_committed(0, 20);
    broker.await_committed(1, 20);
    member.stop();
}

#[test]
fn calls_longer_than_the_poll_interval_keep_the_membership() {
    let slow = |_: &_| Answer::TakeAfter(Duration::from_secs(6));
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(slow));
    (1..=2).for_each(|order| broker.keyed_order(0, "one key", order));
    let short = [
        ("KAFKA__SESSION_TIMEOUT", "4s"),
        ("KAFKA__MAX_POLL_INTERVAL", "4s"),
        ("KAFKA__POSITION_TIMEOUT", "1s"),
        ("DELIVERY__DRAIN_TIMEOUT", "0s"),
    ];
    let member = Member::join("only", &broker, &platform, &short);
    let taken = platform.await_taken("two slow calls", |taken| taken.len() >= 2);
    broker.await_committed(0, 2);
    member.stop();
    assert!(times_taken(&taken).values().all(|times| *times == 1), "{taken:?}");
}

#[test]
fn a_full_window_pauses_intake_and_loses_nothing() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(|_| Answer::TakeAtTheGate));
    broker.orders(0, 1..=60);
    let small = [("DELIVERY__IN_FLIGHT_LIMIT", "4"), ("DELIVERY__WINDOW", "10")];
    let member = Member::join("only", &broker, &platform, &small);
    let calls = platform.await_calls("as many calls as allowed", |calls| calls.len() >= 4);
    assert_eq!(calls.len(), 4, "the limit holds");
    let full = |status: &Status| status.partitions.iter().any(|it| it.intake == IntakeStatus::WindowFull);
    let status = member.await_status(full);
    let partition = &status.partitions[0];
    // What one turn reads comes in before the pause.
    assert!(partition.window_used >= 10 && partition.window_limit == 10, "{status:?}");
    assert!(status.bytes > 0 && status.bytes == partition.bytes, "{status:?}");
    platform.open_gate();
    let taken = platform.await_taken("all of it", |taken| taken.len() >= 60);
    assert_eq!(times_taken(&taken).len(), 60);
    broker.await_committed(0, 60);
    member.stop();
    assert_eq!(platform.taken().len(), 60, "each of them once");
}
