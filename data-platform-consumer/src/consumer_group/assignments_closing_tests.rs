//! What is still done of a partition that is handed back.

use super::*;

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
    assert!(assignments.are_draining(&[0]), "offset 2 would be repeated");
    let overtaken = assignments.start_next(now).unwrap();
    assert_eq!(overtaken.offset, 1);
    assert!(assignments.start_next(now).is_none(), "nothing new starts");
    assignments.reported(report(&overtaken, Ok(())), now);
    assert_eq!(assignments.committable(&[0]), commits(3));
    assert!(!assignments.are_draining(&[0]));
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
    assert!(!assignments.are_draining(&[0]), "what is behind it cannot be committed");
    assert!(assignments.start_next(now).is_none());
}
