//! Partitions change hands without a record being skipped, and what finished is not repeated.

use std::sync::Arc;

use data_platform_consumer::status::{IntakeStatus, Status};

use crate::broker::Broker;
use crate::member::Member;
use crate::platform::{Answer, Platform, Receipt, first_seen, times_taken};

const PARTITIONS: i32 = 4;

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

/// Between its changes all is committed, so that nothing is repeated however a change goes.
#[test]
fn two_members_share_the_partitions_and_one_takes_over_from_the_other() {
    let (broker, platform) = (Broker::with_partitions(PARTITIONS), Platform::taking_everything());
    let committed = |round| (0..PARTITIONS).for_each(|partition| broker.await_committed(partition, round));
    let first = Member::join("first", &broker, &platform, &[]);
    one_round(&broker, &platform, 1);
    committed(1);
    let second = Member::join("second", &broker, &platform, &[]);
    let owns_half = |status: &Status| status.partitions.len() == PARTITIONS as usize / 2;
    first.await_status(owns_half);
    second.await_status(owns_half);
    one_round(&broker, &platform, 2);
    committed(2);
    first.stop();
    let taken = one_round(&broker, &platform, 3);
    second.stop();
    committed(3);
    let by = |member: &str, round: i64| {
        let of_round = taken.iter().filter(|it| it.order_id / 100 == round && it.member == member);
        of_round.count()
    };
    assert_eq!([by("first", 1), by("first", 2), by("first", 3)], [4, 2, 0], "{taken:?}");
    assert_eq!([by("second", 1), by("second", 2), by("second", 3)], [0, 2, 4], "{taken:?}");
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
fn hand_over() -> HandedOver {
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
    HandedOver { broker, platform, first, second, moved, taken_by_second }
}

#[test]
fn handing_back_commits_what_finished_and_late_results_are_dropped() {
    let HandedOver { broker, platform, first, second, moved, taken_by_second } = hand_over();
    assert!(taken_by_second.ends_with(&[3, 4, 5]), "nothing is skipped: {taken_by_second:?}");
    // The mock cluster takes a second less than a session for a join. On a machine that stands still for that second the client
    // takes its partitions for lost, says so, and hands nothing back. That a clean change repeats nothing is asked for on a real
    // Kafka (`consumers_that_become_six_and_two_and_are_replaced_repeat_nothing`).
    assert!(
        taken_by_second.len() == 3 || first.health.assignments_lost() + first.health.commits_failed() > 0,
        "it starts behind the unbroken run that had finished, and not at {taken_by_second:?}"
    );
    broker.await_committed(moved, 6);

    // Only now the first member's call ends. Its partition has gone on without it.
    platform.open_gate();
    let is_late = |it: &Receipt| (it.member, it.partition, it.offset) == ("first", moved, 3);
    platform.await_taken("the late call", |taken| taken.iter().any(is_late));
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
