//! An outage is met with few calls, and its end with more and more of them.

use super::*;

const RULES: BreakerRules = BreakerRules {
    records: 4,
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(8),
    longest_retry_after: Duration::from_mins(1),
};
const LIMIT: usize = 8;

fn after_failures_of(records: i64, now: Instant) -> Breaker {
    let mut breaker = Breaker::new(RULES, LIMIT);
    for record in 0..records {
        breaker.failed((1, record), false, 0, now);
    }
    breaker
}

#[test]
fn it_opens_when_most_records_fail_and_then_asks_one_at_a_time() {
    let now = Instant::now();
    assert!(after_failures_of(2, now).may_start(LIMIT - 1, now), "half of them is not most of them");
    let breaker = after_failures_of(3, now);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(!breaker.may_start(0, now));
    let later = breaker.held_until().unwrap();
    assert_eq!(later, now + RULES.first_wait);
    assert!(breaker.may_start(0, later) && !breaker.may_start(1, later));
}

#[test]
fn the_wait_between_two_questions_grows_up_to_the_longest() {
    let mut now = Instant::now();
    let mut breaker = after_failures_of(3, now);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let until = breaker.held_until().unwrap();
        waits.push((until - now).as_secs());
        now = until;
        breaker.failed((1, 0), true, 0, now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
}

#[test]
fn one_record_that_always_fails_is_no_outage() {
    let now = Instant::now();
    let mut breaker = Breaker::new(RULES, LIMIT);
    for attempt in 0..100 {
        breaker.failed((1, 7), attempt > 0, 0, now);
    }
    assert!(breaker.is_closed());
}

#[test]
fn records_that_always_fail_do_not_keep_it_from_recovering() {
    let now = Instant::now();
    let mut breaker = after_failures_of(3, now);
    for record in 100..120 {
        breaker.took((1, record), false);
        breaker.failed_beside_others((1, 7), 1, now);
        breaker.failed_beside_others((1, 8), 0, now);
    }
    assert!(breaker.is_closed(), "{breaker:?}");
}

#[test]
fn records_that_recover_are_not_counted_as_failing() {
    let now = Instant::now();
    let mut breaker = Breaker::new(RULES, LIMIT);
    for record in 0..100 {
        breaker.failed((1, record), false, 0, now);
        breaker.took((1, record), true);
    }
    assert!(breaker.is_closed());
}

#[test]
fn a_good_answer_ends_the_outage_and_each_further_one_allows_one_call_more() {
    let now = Instant::now();
    let mut breaker = after_failures_of(3, now);
    assert!(breaker.took((1, 9), false), "it ends the outage");
    assert_eq!(breaker.state(), BreakerState::Recovering);
    let mut allowed = 2;
    while !breaker.is_closed() {
        assert!(breaker.may_start(allowed - 1, now) && !breaker.may_start(allowed, now));
        assert!(!breaker.took((1, 10), false));
        allowed += 1;
    }
    assert_eq!(allowed, LIMIT);
    assert!(!breaker.may_start(LIMIT, now), "the limit stays one");
}

#[test]
fn a_failure_while_it_recovers_halves_and_the_last_one_opens_it_again() {
    let now = Instant::now();
    let mut breaker = after_failures_of(3, now);
    for _ in 0..4 {
        breaker.took((1, 9), false);
    }
    breaker.failed((1, 10), false, 4, now);
    assert!(breaker.may_start(1, now) && !breaker.may_start(2, now));
    breaker.failed((1, 11), false, 1, now);
    assert!(breaker.may_start(0, now) && !breaker.may_start(1, now));
    breaker.failed((1, 12), false, 0, now);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn what_was_on_the_wire_when_it_opened_does_not_lengthen_the_wait() {
    let now = Instant::now();
    let mut breaker = after_failures_of(3, now);
    let until = breaker.held_until();
    for left in (0..5).rev() {
        breaker.failed((1, 20), false, left, now);
    }
    assert_eq!(breaker.held_until(), until);
}

#[test]
fn a_platform_that_wants_fewer_calls_gets_half_of_them_and_none_for_as_long_as_it_says() {
    let now = Instant::now();
    let mut breaker = Breaker::new(RULES, LIMIT);
    breaker.throttled(Some(Duration::from_secs(30)), LIMIT - 1, now);
    assert!(!breaker.may_start(0, now + Duration::from_secs(29)));
    let then = now + Duration::from_secs(30);
    assert!(breaker.may_start(3, then) && !breaker.may_start(4, then));
    assert_eq!(breaker.state(), BreakerState::Recovering, "it is not away: intake goes on");

    let mut greedy = Breaker::new(RULES, LIMIT);
    greedy.throttled(Some(Duration::from_hours(24)), 0, now);
    assert!(greedy.may_start(0, now + RULES.longest_retry_after));
}

#[test]
fn a_good_answer_does_not_shorten_what_the_platform_has_asked_for() {
    let now = Instant::now();
    for mut breaker in [after_failures_of(0, now), after_failures_of(3, now)] {
        breaker.throttled(Some(Duration::from_secs(30)), LIMIT - 1, now);
        breaker.took((1, 9), false);
        assert!(!breaker.may_start(0, now + Duration::from_secs(29)));
        assert!(breaker.may_start(0, now + Duration::from_secs(30)));
    }
}
