use super::*;

const STILL: Movement =
    Movement { moved: false, work: Work::Unfinished, reach: Reach::Connected, waits_on_purpose: false };
const UNREAD: Movement = Movement { work: Work::Unread, ..STILL };
const NOTHING: Verdict = Verdict { standing: Vec::new(), leave: false };

fn calls_do_not_end(partition: i32) -> Verdict {
    Verdict { standing: vec![(partition, Standstill::CallsDoNotEnd)], leave: true }
}

#[test]
fn what_has_work_and_does_not_move_for_long_enough_has_stalled() {
    let start = Instant::now();
    let at = |second: u64| start + Duration::from_secs(second);
    let mut watchdog = Watchdog::new(Duration::from_secs(10));
    for second in 0..10 {
        assert_eq!(watchdog.look([(1, STILL), (2, STILL)], at(second)), NOTHING);
    }
    let moves = Movement { moved: true, ..STILL };
    assert_eq!(watchdog.look([(1, STILL), (2, moves)], at(10)), calls_do_not_end(1));
    assert_eq!(watchdog.look([(2, STILL)], at(11)), NOTHING, "one that is gone is forgotten");
    assert_eq!(watchdog.look([(1, STILL), (2, STILL)], at(20)), NOTHING);
    assert_eq!(watchdog.look([(1, STILL), (2, STILL)], at(21)), calls_do_not_end(2));
}

#[test]
fn a_process_that_was_frozen_has_not_stalled() {
    let start = Instant::now();
    let mut watchdog = Watchdog::new(Duration::from_secs(30));
    let leaderless = Movement { reach: Reach::NoLeader, ..UNREAD };
    assert_eq!(watchdog.look([(1, STILL), (2, leaderless)], start), NOTHING);
    let much_later = start + Duration::from_hours(1);
    assert_eq!(watchdog.look([(1, STILL), (2, leaderless)], much_later), NOTHING);
}

#[test]
fn what_has_nothing_to_do_or_waits_on_purpose_has_not() {
    let start = Instant::now();
    let mut watchdog = Watchdog::new(Duration::from_secs(10));
    let idle = Movement { work: Work::Nothing, ..UNREAD };
    let waits = Movement { waits_on_purpose: true, ..STILL };
    for second in 0..100 {
        let now = start + Duration::from_secs(second);
        assert_eq!(watchdog.look([(1, idle), (2, waits)], now), NOTHING);
    }
}

/// What a partition is found to be after it has looked like this for long, in a group that was never left.
fn after_long(movement: Movement) -> Verdict {
    let (start, mut watchdog) = (Instant::now(), Watchdog::new(Duration::from_secs(2)));
    let looks = (0..=2).map(|second| watchdog.look([(1, movement)], start + Duration::from_secs(second)));
    looks.last().unwrap()
}

#[test]
fn a_partition_that_cannot_be_read_is_told_from_calls_that_do_not_end() {
    let leaderless = Movement { reach: Reach::NoLeader, ..UNREAD };
    let stays = Verdict { standing: vec![(1, Standstill::NoLeader)], leave: false };
    assert_eq!(after_long(leaderless), stays, "nobody could do better");
    let nothing_known_to_be_unread = Movement { work: Work::Nothing, ..leaderless };
    assert_eq!(after_long(nothing_known_to_be_unread), stays, "what it has now, nobody knows");
    let others_move = Movement { moved: true, ..leaderless };
    assert_eq!(after_long(others_move), stays, "retries of what was read before do not hide it");

    let away = Movement { reach: Reach::BrokerAway(3), ..UNREAD };
    let leaves = |cause| Verdict { standing: vec![(1, cause)], leave: true };
    assert_eq!(after_long(away), leaves(Standstill::BrokerAway(3)));
    assert_eq!(after_long(UNREAD), leaves(Standstill::NotFetched));
    let both = Movement { reach: Reach::NoLeader, ..STILL };
    let standing = vec![(1, Standstill::NoLeader), (1, Standstill::CallsDoNotEnd)];
    assert_eq!(after_long(both), Verdict { standing, leave: true });
}

#[test]
fn for_what_cannot_be_read_the_group_is_left_once_in_a_while() {
    let away = Movement { reach: Reach::BrokerAway(3), ..UNREAD };
    for (movement, cause) in [(away, Standstill::BrokerAway(3)), (UNREAD, Standstill::NotFetched)] {
        is_left_once_in_a_while(movement, cause);
    }
}

fn is_left_once_in_a_while(movement: Movement, cause: Standstill) {
    let start = Instant::now();
    let mut watchdog = Watchdog::new(Duration::from_secs(2));
    let mut left_at = Vec::new();
    for second in 0..=2 * 3_600 {
        let verdict = watchdog.look([(1, movement), (2, movement)], start + Duration::from_secs(second));
        if verdict.leave {
            left_at.push(second);
            watchdog.forget();
        }
        if second == 100 {
            let standing = [1, 2].map(|partition| (partition, cause));
            assert_eq!(verdict.standing, standing, "it is told all the same");
        }
    }
    assert_eq!(left_at, [2, 3_602]);
}
