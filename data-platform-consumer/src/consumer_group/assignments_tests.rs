//! The rules of assignments, with the clock in the test's hand.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::consumer_group::offset_tracker::NextOffset;
use crate::consumer_group::watchdog::{Reach, Work};
use crate::delivery::Fault;
use crate::delivery::call::{NotDelivered, Report};
use crate::delivery::ceiling::RecentDeadLetters;
use crate::delivery::dead_letters::ParkingReport;
use crate::sink::DeliveryFailure;
use shared_messages::dead_letter::DeadLetterCause;

#[path = "assignments_closing_tests.rs"]
mod closing;
#[path = "assignments_outage_tests.rs"]
mod outages;
#[path = "assignments_window_tests.rs"]
mod windows;

const RULES: DeliveryRules = DeliveryRules {
    in_flight_limit: 2,
    window: Window { records: 4, bytes: 1_000 },
    retry: RetryPolicy { first_wait: Duration::from_secs(1), longest_wait: Duration::from_secs(8) },
    breaker: BreakerRules {
        records: 6,
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(8),
        longest_retry_after: Duration::from_mins(1),
    },
    blame: BlameRules { failures: 2, time: Duration::from_secs(10) },
    ceiling: CeilingRules { count: 2, window: Duration::from_hours(1) },
};

fn assigned(partitions: &[i32]) -> Assignments<&'static str> {
    let mut assignments = Assignments::new(RULES);
    for partition in partitions {
        assignments.assign(*partition, StartPosition::Beginning, None, Instant::now());
    }
    assignments
}

fn report(call: &Call<&'static str>, outcome: Result<(), DeliveryFailure>) -> Report {
    let outcome = outcome.map_err(|failure| NotDelivered { fault: Fault::from(failure), event: None });
    Report { assignment: call.assignment, partition: call.partition, offset: call.offset, outcome }
}

fn commits(next: i64) -> Vec<Commit> {
    vec![Commit { partition: 0, position: NextOffset(next), ceiling_reached_at: None }]
}

fn failed(call: &Call<&'static str>) -> Report {
    report(call, Err(DeliveryFailure::unavailable("503")))
}

#[test]
fn a_report_of_an_earlier_assignment_changes_nothing() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    assert!(assignments.take_in(0, 10, None, ("first", 1)));
    let early = assignments.start_next(now).unwrap();
    assignments.revoke(0);
    assignments.assign(0, StartPosition::At(10), None, now);
    assert!(assignments.take_in(0, 10, None, ("again", 1)));

    assert_eq!(assignments.reported(report(&early, Ok(())), now), Reported::Late);
    assert_eq!((assignments.take_commits(), assignments.late_reports()), (vec![], 1));

    let again = assignments.start_next(now).unwrap();
    assert_eq!(assignments.reported(report(&again, Ok(())), now), Reported::Delivered);
    assert_eq!(assignments.take_commits(), commits(11));
}

#[test]
fn calls_that_outlive_their_assignment_keep_their_place_in_the_limit() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    for offset in 0..4 {
        assignments.take_in(0, offset, None, ("", 1));
    }
    let (first, _second) = (assignments.start_next(now).unwrap(), assignments.start_next(now).unwrap());
    assignments.revoke(0);
    assignments.assign(0, StartPosition::At(0), None, now);
    assignments.take_in(0, 0, None, ("", 1));
    assert!(assignments.start_next(now).is_none(), "both places are taken by late calls");
    assignments.reported(report(&first, Ok(())), now);
    assert!(assignments.start_next(now).is_some());
}

#[test]
fn a_failed_record_is_tried_again_when_its_wait_is_over_and_holds_back_its_key() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    assignments.take_in(0, 0, Some(b"1"), ("first", 1));
    assignments.take_in(0, 1, Some(b"1"), ("second", 1));
    let call = assignments.start_next(now).unwrap();
    let Reported::Failed { failures: 1, again_at, .. } = assignments.reported(failed(&call), now) else {
        panic!("it is tried again")
    };
    assert!(again_at > now && again_at <= now + Duration::from_secs(1));
    assert_eq!(assignments.next_due(now), Some(again_at));
    assert!(assignments.start_next(again_at.checked_sub(Duration::from_nanos(1)).unwrap()).is_none());
    let again = assignments.start_next(again_at).unwrap();
    assert_eq!((again.record, again.offset), ("first", 0));
    assert_eq!(assignments.take_commits(), vec![]);
    assignments.reported(report(&again, Ok(())), again_at);
    assert_eq!(assignments.start_next(again_at).unwrap().record, "second");
    assert_eq!(assignments.take_commits(), commits(1));
}

#[test]
fn a_record_that_waits_for_its_retry_takes_no_place_from_others() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    for offset in 0..4 {
        assignments.take_in(0, offset, None, ("", 1));
    }
    for _ in 0..2 {
        let call = assignments.start_next(now).unwrap();
        assignments.reported(failed(&call), now);
    }
    assert_eq!(assignments.start_next(now).unwrap().offset, 2);
    assert_eq!(assignments.start_next(now).unwrap().offset, 3);
}

#[test]
fn retries_and_first_calls_take_turns() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    for offset in 0..6 {
        assignments.take_in(0, offset, None, ("", 1));
    }
    for _ in 0..2 {
        let call = assignments.start_next(now).unwrap();
        assignments.reported(failed(&call), now);
    }
    let later = now + Duration::from_secs(1);
    let mut served = Vec::new();
    for _ in 0..4 {
        let call = assignments.start_next(later).unwrap();
        served.push(call.offset);
        assignments.reported(report(&call, Ok(())), later);
    }
    assert_eq!(served.iter().filter(|offset| **offset < 2).count(), 2, "{served:?}");
    assert!(served[0] < 2 && served[1] == 2, "{served:?}");
}

#[test]
fn handing_back_drops_what_waits_and_lets_what_is_on_the_wire_end() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    for offset in 0..3 {
        assignments.take_in(0, offset, None, ("", 1));
    }
    let (first, second) = (assignments.start_next(now).unwrap(), assignments.start_next(now).unwrap());
    assignments.close(0);
    assert!(assignments.are_draining(&[0], now));
    assert_eq!(assignments.reported(report(&first, Ok(())), now), Reported::Delivered);
    assert_eq!(assignments.reported(failed(&second), now), Reported::LeftToTheNextOwner);
    assert!(!assignments.are_draining(&[0], now));
    assert!(assignments.start_next(now).is_none());
    assert_eq!(assignments.next_due(now), None);
    assert_eq!(assignments.committable(&[0]), commits(1));
}

#[test]
fn a_stopped_partition_finishes_what_it_had_and_the_others_flow() {
    let now = Instant::now();
    let mut assignments = assigned(&[0, 1]);
    assignments.take_in(0, 0, None, ("before", 1));
    assignments.stop(0);
    assert!(!assignments.takes_in(0) && assignments.takes_in(1));
    let call = assignments.start_next(now).unwrap();
    assignments.reported(report(&call, Ok(())), now);
    assert_eq!(assignments.take_commits(), commits(1));
    assert_eq!(assignments.intake_changes(), IntakeChanges::default(), "it is never resumed");
}

fn ending_at(end: i64) -> BTreeMap<i32, Seen> {
    BTreeMap::from([(0, Seen { end: Some(end), ..Seen::default() })])
}

#[test]
fn a_partition_that_was_never_fetched_has_work_and_says_why_it_is_not() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    let unknown = Seen { end: None, reach: Reach::NoLeader };
    let (_, movements) = assignments.look(&BTreeMap::from([(0, unknown)]), false, now);
    assert_eq!((movements[0].1.work, movements[0].1.reach), (Work::Unread, Reach::NoLeader));
    let (_, movements) = assignments.look(&BTreeMap::from([(0, unknown)]), true, now);
    assert_eq!(
        (movements[0].1.work, movements[0].1.reach),
        (Work::Nothing, Reach::Connected),
        "all of Kafka is away"
    );
    let (_, movements) = assignments.look(&ending_at(1), false, now);
    assert_eq!(movements[0].1.work, Work::Unread, "it was begun at its beginning, and has a record");
    assignments.stop(0);
    let (_, movements) = assignments.look(&BTreeMap::from([(0, unknown)]), false, now);
    assert_eq!(
        (movements[0].1.work, movements[0].1.reach),
        (Work::Nothing, Reach::Connected),
        "an operator decides"
    );
}

#[test]
fn offsets_that_are_no_records_are_neither_lag_nor_work() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    // What the client says before it has begun to fetch.
    assignments.is_fetched_to(0, -1001);
    let (status, movements) = assignments.look(&ending_at(0), false, now);
    assert_eq!((status.partitions[0].lag, movements[0].1.work), (Some(0), Work::Nothing), "it is empty");
    assignments.take_in(0, 0, None, ("", 1));
    let call = assignments.start_next(now).unwrap();
    assignments.reported(report(&call, Ok(())), now);
    // A transaction's marker lies at offset 1, which the client never hands over.
    let ends = ending_at(2);
    let (status, movements) = assignments.look(&ends, false, now);
    assert_eq!(
        (status.partitions[0].lag, movements[0].1.work),
        (Some(1), Work::Unread),
        "it may be a record"
    );
    assignments.is_fetched_to(0, 2);
    let (status, movements) = assignments.look(&ends, false, now);
    assert_eq!((status.partitions[0].lag, movements[0].1.work), (Some(0), Work::Nothing));
    assignments.take_in(0, 2, None, ("", 1));
    let (status, movements) = assignments.look(&ending_at(3), false, now);
    assert_eq!((status.partitions[0].lag, movements[0].1.work), (Some(2), Work::Unfinished));
}

#[test]
fn what_a_pause_threw_away_is_still_to_be_read() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    for offset in 0..4 {
        assignments.take_in(0, offset, None, ("", 1));
    }
    assert_eq!(assignments.intake_changes().pause, [0]);
    for _ in 0..4 {
        let call = assignments.start_next(now).unwrap();
        assignments.reported(report(&call, Ok(())), now);
    }
    assert_eq!(assignments.intake_changes().resume, [0]);
    // The client had fetched up to there before the pause, and says so until it fetches again.
    assignments.is_fetched_to(0, 9);
    let (_, movements) = assignments.look(&ending_at(9), false, now);
    assert_eq!(movements[0].1.work, Work::Unread);
}

#[test]
fn a_partition_whose_position_moves_has_enough_at_hand_with_half_its_window() {
    let now = Instant::now();
    let moment = Duration::from_millis(2);
    let mut assignments = assigned(&[0]);
    for offset in 0..3 {
        assignments.take_in(0, offset, Some(b"one key"), ("", 1));
    }
    assert!(!assignments.one_has_enough(moment, now), "nothing has finished");
    let call = assignments.start_next(now).unwrap();
    assignments.reported(report(&call, Ok(())), now);
    assert!(assignments.one_has_enough(moment, now));
    assert!(!assignments.one_has_enough(moment, now + moment), "a position that stands is a slow record's");
}

#[test]
fn partitions_take_turns() {
    let now = Instant::now();
    let mut assignments = assigned(&[0, 1]);
    for partition in [0, 1] {
        for offset in 0..4 {
            assignments.take_in(partition, offset, None, ("", 1));
        }
    }
    let mut served = Vec::new();
    for _ in 0..4 {
        let call = assignments.start_next(now).unwrap();
        assignments.reported(report(&call, Ok(())), now);
        served.push(call.partition);
    }
    assert_eq!(served, [0, 1, 0, 1]);
}

#[test]
fn a_commit_is_sent_once_and_again_only_after_it_failed() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    assignments.take_in(0, 7, None, ("", 1));
    let call = assignments.start_next(now).unwrap();
    assignments.reported(report(&call, Ok(())), now);
    assert_eq!(assignments.take_commits(), commits(8));
    assert_eq!(assignments.take_commits(), vec![]);
    assignments.forget_commit(0);
    assert_eq!(assignments.take_commits(), commits(8));
}

/// Takes note that each of these was rejected, which makes it a record at fault.
fn rejected(assignments: &mut Assignments<&'static str>, offsets: &[i64], now: Instant) {
    for offset in offsets {
        assert!(assignments.take_in(0, *offset, None, ("", 1)));
        let call = assignments.start_next(now).unwrap();
        let reported = assignments.reported(report(&call, Err(DeliveryFailure::rejected("400"))), now);
        assert!(matches!(reported, Reported::AtFault { .. }));
    }
}

fn parked_next(assignments: &mut Assignments<&'static str>, now: Instant) -> Parking<&'static str> {
    match assignments.next_parking_step(now) {
        Some(ParkingStep::Park(parking)) => parking,
        other => panic!("{other:?} is no dead letter"),
    }
}

fn unwritten(parking: &Parking<&'static str>) -> ParkingReport {
    let Parking { assignment, partition, offset, .. } = *parking;
    ParkingReport { assignment, partition, offset, outcome: Err("no broker has taken it".to_owned()) }
}

#[test]
fn a_dead_letter_that_could_not_be_written_does_not_wait_behind_one_that_the_ceiling_holds() {
    let mut assignments = assigned(&[0]);
    let now = Instant::now();
    assert!(assignments.take_in(0, 0, None, ("", 1)));
    let oldest = assignments.start_next(now).unwrap();
    rejected(&mut assignments, &[1, 2], now);
    let Some(ParkingStep::Ask { assignment, .. }) = assignments.next_parking_step(now) else {
        panic!("the dead letters are asked first")
    };
    let nothing = RecentDeadLetters { ages: vec![], end: 0, resumed_at: None };
    assignments.ceiling_seen(assignment, 0, Some(&nothing), now);
    let (first, _second) = (parked_next(&mut assignments, now), parked_next(&mut assignments, now));
    assert!(matches!(
        assignments.reported(report(&oldest, Err(DeliveryFailure::rejected("400"))), now),
        Reported::AtFault { .. }
    ));
    let reached = ParkingStep::CeilingReached { partition: 0 };
    assert_eq!(assignments.next_parking_step(now), Some(reached), "for the oldest, which is looked at first");
    let Parked::Failed { again_at, .. } = assignments.parked(unwritten(&first), now) else {
        panic!("it is tried again")
    };
    assert_eq!(assignments.next_parking_step(now), None);
    assert_eq!(assignments.next_due(now), Some(again_at));
    assert_eq!(parked_next(&mut assignments, again_at).offset, first.offset);
}

#[test]
fn a_record_that_the_sink_cannot_use_says_nothing_of_the_platform() {
    for (failure, state) in [
        (DeliveryFailure::unfit("no text"), BreakerState::Open),
        (DeliveryFailure::rejected("400"), BreakerState::Closed),
    ] {
        let (mut assignments, now) = (assigned(&[0]), Instant::now());
        for offset in 0..4 {
            assignments.take_in(0, offset, None, ("", 1));
        }
        for _ in 0..4 {
            let call = assignments.start_next(now).unwrap();
            assignments.reported(failed(&call), now);
        }
        assert_eq!(assignments.breaker_state(), BreakerState::Open);
        let later = now + Duration::from_mins(1);
        let question = assignments.start_next(later).unwrap();
        let reported = assignments.reported(report(&question, Err(failure)), later);
        assert!(matches!(reported, Reported::AtFault { cause: DeadLetterCause::Rejected, .. }));
        assert_eq!(assignments.breaker_state(), state);
    }
}
