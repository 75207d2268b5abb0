//! Partitions change hands without a record being skipped, and what finished is not repeated.

use std::collections::HashSet;
use std::sync::Arc;

use data_platform_consumer::status::{IntakeStatus, Status};

use crate::broker::Broker;
use crate::member::Member;
use crate::platform::{Answer, Platform, Receipt, first_seen, times_taken};

const PARTITIONS: i32 = 4;
/// The mock cluster takes a second less than a session for a join, however long a session is. A machine that stands
/// still for that second makes the client think its partitions lost, and then nothing was handed back to look at. And it
/// refuses commits while others join, which a member that stood still does twice.
const SCENES: usize = 5;

/// One record to each partition; waits until all were taken.
fn one_round(broker: &Broker, platform: &Platform, round: i64) -> Vec<Receipt> {
    let orders: Vec<i64> = (0..PARTITIONS).map(|partition| round * 100 + i64::from(partition)).collect();
    for (partition, order) in (0..PARTITIONS).zip(&orders) {
        broker.order(partition, *order);
    }
    let all =
        |taken: &[Receipt]| orders.iter().all(|order| taken.iter().any(|receipt| receipt.order_id == *order));
    platform.await_taken("a round", all)
}

#[test]
fn two_members_share_the_partitions_and_one_takes_over_from_the_other() {
    let (broker, platform) = (Broker::with_partitions(PARTITIONS), Platform::taking_everything());
    let first = Member::join("first", &broker, &platform, &[]);
    one_round(&broker, &platform, 1);
    let second = Member::join("second", &broker, &platform, &[]);
    let mut round = 1;
    let mut last: Vec<Receipt> = Vec::new();
    while last.iter().map(|receipt| receipt.member).collect::<HashSet<_>>().len() < 2 {
        round += 1;
        let before = platform.taken().len();
        last = one_round(&broker, &platform, round)[before..].to_vec();
    }
    let healths = [first.health.clone(), second.health.clone()];
    first.stop();
    let rounds_with_both = round;
    let taken = one_round(&broker, &platform, round + 1);
    let after: Vec<_> = taken.iter().filter(|receipt| receipt.order_id / 100 > rounds_with_both).collect();
    assert!(after.iter().all(|receipt| receipt.member == "second"), "{after:?}");
    second.stop();
    let repeated: Vec<_> =
        times_taken(&platform.taken()).into_iter().filter(|(_, times)| *times > 1).collect();
    let unclean: u64 = healths.iter().map(|health| health.assignments_lost() + health.commits_failed()).sum();
    assert!(repeated.is_empty() || unclean > 0, "a clean handing over repeats nothing: {repeated:?}");
    (0..PARTITIONS).for_each(|partition| assert_eq!(broker.committed(partition), Some(round + 1)));
}

struct HandedOver {
    broker: Broker,
    platform: Arc<Platform>,
    first: Member,
    second: Member,
    moved: i32,
    /// Offsets of the partition that has moved, in the order in which the second member took them.
    taken_by_second: Vec<i64>,
}

/// The first member gets stuck with offset 3 of each of two partitions; then a second one joins and gets one of them.
/// Nothing if the first lost its partitions instead, or its commit was refused.
fn hand_over() -> Option<HandedOver> {
    let stuck = |call: &Receipt| {
        if call.member == "first" && call.offset == 3 { Answer::TakeAtTheGate } else { Answer::Take }
    };
    let (broker, platform) = (Broker::with_partitions(2), Platform::with(stuck));
    for offset in 0..6 {
        broker.order(0, 100 + offset);
        broker.order(1, 200 + offset);
    }
    // Only handing back can commit.
    let first = Member::join("first", &broker, &platform, &[("KAFKA__COMMIT_INTERVAL", "1h")]);
    platform.await_taken("all but two", |taken| taken.len() == 10);
    platform.await_calls("all", |calls| calls.len() == 12);
    assert_eq!((broker.committed(0), broker.committed(1)), (None, None));

    let second = Member::join("second", &broker, &platform, &[]);
    let is_last = |receipt: &&Receipt| receipt.member == "second" && receipt.offset == 5;
    let taken =
        platform.await_taken("the rest of one partition", |taken| taken.iter().any(|it| is_last(&it)));
    let moved = taken.iter().find(is_last).unwrap().partition;
    let of_moved = taken.iter().filter(|it| it.member == "second" && it.partition == moved);
    let taken_by_second: Vec<i64> = of_moved.map(|receipt| receipt.offset).collect();
    let (lost, refused) = (first.health.assignments_lost(), first.health.commits_failed());
    if lost + refused == 0 {
        return Some(HandedOver { broker, platform, first, second, moved, taken_by_second });
    }
    assert!(taken_by_second.ends_with(&[3, 4, 5]), "nothing is skipped: {taken_by_second:?}");
    platform.open_gate();
    first.stop();
    second.stop();
    None
}

#[test]
fn handing_back_commits_what_finished_and_late_results_are_dropped() {
    let handed_over = (0..SCENES).find_map(|_| hand_over()).expect("a machine that does not stand still");
    let HandedOver { broker, platform, first, second, moved, taken_by_second } = handed_over;
    assert_eq!(taken_by_second, [3, 4, 5], "it starts behind the unbroken run that had finished");
    broker.await_committed(moved, 6);

    // Only now the first member's call ends. Its partition has gone on without it.
    platform.open_gate();
    platform.await_taken("the late call", |taken| taken.len() == 15);
    first.stop();
    broker.await_committed(1 - moved, 6);
    assert_eq!(broker.committed(moved), Some(6), "the late result moved nothing");
    second.stop();
}

#[test]
fn nothing_is_skipped_when_a_member_takes_over_unfinished_work() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(|_| Answer::TakeAtTheGate));
    (0..5).for_each(|order| broker.keyed_order(0, "one key", order));
    let first = Member::join("first", &broker, &platform, &[("DELIVERY__DRAIN_TIMEOUT", "0s")]);
    platform.await_calls("a call that never ends", |calls| calls.len() == 1);
    first.stop();
    assert_eq!(broker.committed(0), None);
    platform.change_to(|_| Answer::Take);
    let second = Member::join("second", &broker, &platform, &[]);
    let taken = platform.await_taken("all of it", |taken| taken.len() == 5);
    assert_eq!(first_seen(&taken), [0, 1, 2, 3, 4]);
    broker.await_committed(0, 5);
    second.stop();
}

#[test]
fn a_paused_partition_that_comes_back_is_read_on() {
    const SMALL: [(&str, &str); 3] =
        [("DELIVERY__IN_FLIGHT_LIMIT", "2"), ("DELIVERY__WINDOW", "2"), ("DELIVERY__DRAIN_TIMEOUT", "0s")];
    let (broker, platform) = (Broker::with_partitions(2), Platform::with(|_| Answer::TakeAtTheGate));
    for order in 0..6 {
        broker.order(0, 100 + order);
        broker.order(1, 200 + order);
    }
    let first = Member::join("first", &broker, &platform, &SMALL);
    let all_paused = |status: &Status| {
        status.partitions.len() == 2
            && status.partitions.iter().all(|it| it.intake == IntakeStatus::WindowFull)
    };
    first.await_status(all_paused);
    let second = Member::join("second", &broker, &platform, &SMALL);
    platform.await_calls("one partition moves", |calls| calls.iter().any(|it| it.member == "second"));
    second.stop();
    first.await_status(|status| status.partitions.len() == 2);
    platform.open_gate();
    platform.await_taken("all of both", |taken| times_taken(taken).len() == 12);
    broker.await_committed(0, 6);
    broker.await_committed(1, 6);
    first.stop();
}
