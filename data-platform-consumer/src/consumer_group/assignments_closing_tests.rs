//! What is still done of a partition that is handed back.

use super::*;
use crate::delivery::Undecodable;

const DRAIN: Duration = Duration::from_secs(10);

#[test]
fn what_others_have_overtaken_is_caught_up_with_before_a_partition_is_handed_back() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    for (offset, key) in [(0, "a"), (1, "a"), (2, "b"), (3, "c"), (4, "a")] {
        assignments.take_in(0, offset, Some(key.as_bytes()), (key, 1));
    }
    let (first, overtakes) = (assignments.start_next(now).unwrap(), assignments.start_next(now).unwrap());
    assert_eq!((first.offset, overtakes.offset), (0, 2));
    assignments.close(0);
    assignments.reported(report(&overtakes, Ok(())), now);
    assignments.reported(report(&first, Ok(())), now);
    assert_eq!(assignments.committable(&[0]), commits(1));
    assert!(assignments.are_draining(&[0], now + DRAIN), "offset 2 would be repeated");
    let overtaken = assignments.start_next(now).unwrap();
    assert_eq!(overtaken.offset, 1);
    assert!(assignments.start_next(now).is_none(), "nothing new starts");
    assignments.reported(report(&overtaken, Ok(())), now);
    assert_eq!(assignments.committable(&[0]), commits(3));
    assert!(!assignments.are_draining(&[0], now + DRAIN));
}

#[test]
fn a_partition_is_handed_back_without_what_stands_behind_a_failure() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    for (offset, key) in [(0, "a"), (1, "a"), (2, "b")] {
        assignments.take_in(0, offset, Some(key.as_bytes()), (key, 1));
    }
    let (first, second) = (assignments.start_next(now).unwrap(), assignments.start_next(now).unwrap());
    assignments.close(0);
    assignments.reported(report(&second, Ok(())), now);
    assert_eq!(assignments.reported(failed(&first), now), Reported::LeftToTheNextOwner);
    assert!(!assignments.are_draining(&[0], now + DRAIN), "what is behind it cannot be committed");
    assert!(assignments.start_next(now).is_none());
}

fn undecodable(call: &Call<&'static str>) -> Report {
    let Call { assignment, partition, offset, .. } = *call;
    let fault = Fault::Undecodable(Undecodable::NoValue);
    Report { assignment, partition, offset, outcome: Err(NotDelivered { fault, event: None }) }
}

/// A record at fault at offset 0, and one at 2 that has waited behind its key, and was overtaken by that at 3.
fn with_one_at_fault_in_front() -> (Assignments<&'static str>, Instant) {
    let mut assignments = assigned(&[0]);
    let now = Instant::now();
    for (offset, key) in [(0, "a"), (1, "b"), (2, "b"), (3, "c")] {
        assignments.take_in(0, offset, Some(key.as_bytes()), (key, 1));
    }
    let (first, slow) = (assignments.start_next(now).unwrap(), assignments.start_next(now).unwrap());
    assert!(matches!(assignments.reported(undecodable(&first), now), Reported::AtFault { .. }));
    let overtakes = assignments.start_next(now).unwrap();
    assert_eq!((slow.offset, overtakes.offset), (1, 3));
    assignments.reported(report(&overtakes, Ok(())), now);
    assignments.reported(report(&slow, Ok(())), now);
    (assignments, now)
}

#[test]
fn a_partition_is_handed_back_without_what_stands_behind_a_record_at_fault_that_is_not_parked() {
    let (mut assignments, now) = with_one_at_fault_in_front();
    assignments.close(0);
    assert!(!assignments.are_draining(&[0], now + DRAIN), "what is behind it cannot be committed");
    assert!(assignments.start_next(now).is_none());
}

#[test]
fn what_stands_behind_a_dead_letter_on_its_way_is_caught_up_with_unless_it_cannot_be_written() {
    for is_written in [true, false] {
        let (mut assignments, now) = with_one_at_fault_in_front();
        let Some(ParkingStep::Ask { assignment, .. }) = assignments.next_parking_step(now) else {
            panic!("the dead letters are asked first")
        };
        let nothing = RecentDeadLetters { ages: vec![], end: 0, resumed_at: None };
        assignments.ceiling_seen(assignment, 0, Some(&nothing), now);
        let parking = parked_next(&mut assignments, now);
        assignments.close(0);
        let outcome = if is_written { Ok(0) } else { Err("no broker has taken it".to_owned()) };
        assignments.parked(ParkingReport { outcome, ..unwritten(&parking) }, now);
        assert_eq!(assignments.are_draining(&[0], now + DRAIN), is_written);
        if is_written {
            let overtaken = assignments.start_next(now).unwrap();
            assignments.reported(report(&overtaken, Ok(())), now);
            assert_eq!(assignments.committable(&[0]), commits(4));
        }
        assert!(assignments.start_next(now).is_none());
        assert!(!assignments.are_draining(&[0], now + DRAIN));
    }
}

#[test]
fn a_platform_that_wants_no_call_before_the_time_is_over_is_not_waited_for() {
    let now = Instant::now();
    for (patience, waits) in [(DRAIN, true), (DRAIN + Duration::from_secs(1), false)] {
        let mut assignments = assigned(&[0, 1]);
        for (offset, key) in [(0, "a"), (1, "a"), (2, "b")] {
            assignments.take_in(0, offset, Some(key.as_bytes()), (key, 1));
        }
        let (first, overtakes) = (assignments.start_next(now).unwrap(), assignments.start_next(now).unwrap());
        assignments.reported(report(&overtakes, Ok(())), now);
        assignments.reported(report(&first, Ok(())), now);
        assignments.take_in(1, 0, None, ("", 1));
        assignments.last_served = 0;
        let throttled = assignments.start_next(now).unwrap();
        assert_eq!(throttled.partition, 1);
        assignments.close(0);
        let refusal = DeliveryFailure::throttled("429", Some(patience));
        assignments.reported(report(&throttled, Err(refusal)), now);
        assert_eq!(assignments.are_draining(&[0], now + DRAIN), waits);
    }
}
