//! An outage while calls do not end.

use super::*;

/// One call never ends, and then everything fails.
fn in_an_outage_with_a_call_that_hangs(now: Instant) -> (Assignments<&'static str>, Call<&'static str>) {
    let mut assignments = assigned(&[0]);
    for offset in 0..6 {
        assignments.take_in(0, offset, None, ("", 1));
    }
    let hangs = assignments.start_next(now).unwrap();
    for _ in 0..4 {
        let call = assignments.start_next(now).unwrap();
        assignments.reported(failed(&call), now);
    }
    assert_eq!(assignments.breaker_state(), BreakerState::Open);
    (assignments, hangs)
}

fn waits_on_purpose(assignments: &mut Assignments<&'static str>, now: Instant) -> bool {
    let (_, movements) = assignments.look(&BTreeMap::new(), false, now);
    movements.iter().all(|(_, movement)| movement.waits_on_purpose)
}

#[test]
fn behind_a_call_that_does_not_end_nobody_waits_for_the_platform() {
    let now = Instant::now();
    let (mut assignments, hangs) = in_an_outage_with_a_call_that_hangs(now);
    assert!(waits_on_purpose(&mut assignments, now));
    let later = now + Duration::from_mins(1);
    assert!(assignments.start_next(later).is_none(), "one call asks for all, and it is on the wire");
    assert!(!waits_on_purpose(&mut assignments, later));

    assignments.reported(failed(&hangs), later);
    assert!(waits_on_purpose(&mut assignments, later), "it has ended, and the next one waits its time");
    let between = later + Duration::from_secs(2);
    let question = assignments.start_next(between).unwrap();
    assert!(!waits_on_purpose(&mut assignments, between));
    // Asked and answered between two looks, and the hold was as short.
    let next = between + Duration::from_mins(1);
    assignments.reported(failed(&question), between);
    assert!(waits_on_purpose(&mut assignments, next));
}

#[test]
fn a_call_of_an_earlier_assignment_does_not_keep_the_platform_from_being_asked() {
    let now = Instant::now();
    let (mut assignments, hangs) = in_an_outage_with_a_call_that_hangs(now);
    assignments.revoke(0);
    assignments.assign(0, StartPosition::At(0), None, now);
    for offset in 0..6 {
        assignments.take_in(0, offset, None, ("", 1));
    }
    let later = now + Duration::from_mins(1);
    assert!(assignments.has_room());
    let question = assignments.start_next(later).unwrap();
    assert!(!assignments.has_room(), "both places are taken");
    assignments.reported(report(&question, Ok(())), later);
    assert_ne!(assignments.breaker_state(), BreakerState::Open);
    assert_eq!(assignments.reported(report(&hangs, Ok(())), later), Reported::Late);
    assert_eq!(assignments.calls_on_the_wire(), 0);
    assert!(assignments.start_next(later).is_some() && assignments.start_next(later).is_some());
}
