//! How far partitions run ahead.

use super::*;

#[test]
fn a_full_window_pauses_the_partition_until_half_of_it_is_finished() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    for offset in 0..4 {
        assignments.take_in(0, offset, None, ("", 1));
    }
    assert_eq!(assignments.intake_changes(), IntakeChanges { pause: vec![0], resume: vec![] });
    let (first, second) = (assignments.start_next(now).unwrap(), assignments.start_next(now).unwrap());
    assignments.reported(report(&second, Ok(())), now);
    assert_eq!(assignments.intake_changes(), IntakeChanges::default(), "the oldest is not finished");
    assignments.reported(report(&first, Ok(())), now);
    assert_eq!(assignments.intake_changes(), IntakeChanges { pause: vec![], resume: vec![0] });
}

#[test]
fn a_window_full_of_large_records_pauses_the_partition_until_half_of_their_bytes_are_finished() {
    let now = Instant::now();
    let mut assignments = assigned(&[0]);
    assignments.take_in(0, 0, None, ("", 600));
    assert_eq!(assignments.intake_changes(), IntakeChanges::default());
    assignments.take_in(0, 1, None, ("", 400));
    assert_eq!(assignments.intake_changes(), IntakeChanges { pause: vec![0], resume: vec![] });
    let call = assignments.start_next(now).unwrap();
    assignments.reported(report(&call, Ok(())), now);
    assert_eq!(assignments.intake_changes(), IntakeChanges { pause: vec![], resume: vec![0] });
}

#[test]
fn partitions_that_hold_more_than_a_windows_bytes_together_each_have_their_share() {
    let now = Instant::now();
    let mut assignments = assigned(&[0, 1]);
    assignments.take_in(0, 0, None, ("", 600));
    assert_eq!(
        assignments.intake_changes(),
        IntakeChanges::default(),
        "one alone may use more than its share"
    );
    assignments.take_in(1, 0, None, ("", 450));
    assert_eq!(assignments.intake_changes(), IntakeChanges { pause: vec![0], resume: vec![] });
    assignments.take_in(1, 1, None, ("", 50));
    assert_eq!(assignments.intake_changes(), IntakeChanges { pause: vec![1], resume: vec![] });
    let call = assignments.start_next(now).unwrap();
    assert_eq!(call.partition, 0);
    assignments.reported(report(&call, Ok(())), now);
    assert_eq!(assignments.intake_changes(), IntakeChanges { pause: vec![], resume: vec![0, 1] });
}

#[test]
fn a_record_that_fails_in_front_of_a_full_window_lets_others_in_and_is_given_up() {
    let mut now = Instant::now();
    let mut assignments = assigned(&[0]);
    let mut next = 0;
    let mut paused = false;
    // It would take in whatever the client is not told to pause.
    for _ in 0..100 {
        let changes = assignments.intake_changes();
        paused = (paused || !changes.pause.is_empty()) && changes.resume.is_empty();
        while !paused && next < 1_000 {
            assignments.take_in(0, next, None, ("", 1));
            next += 1;
            paused = !assignments.intake_changes().pause.is_empty();
        }
        while let Some(call) = assignments.start_next(now) {
            let answer = if call.offset == 0 { failed(&call) } else { report(&call, Ok(())) };
            if let Reported::AtFault { .. } = assignments.reported(answer, now) {
                assert!(next < 4 * 2 + 2, "{next} records were taken in, at a window of 4");
                return;
            }
        }
        now = assignments.next_due(now).unwrap();
    }
    panic!("it is never given up, and nothing comes in any more");
}
