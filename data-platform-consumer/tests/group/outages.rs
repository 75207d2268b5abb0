//! A platform that is away, slow to recover, or wants fewer calls: intake pauses, no dead letters, and bounded recovery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use data_platform_consumer::health::PLATFORM_UNAVAILABLE;

use crate::broker::Broker;
use crate::member::Member;
use crate::platform::{Answer, Platform, Receipt};

/// Each record as quickly given up as can be: an outage must be told from faults all the same.
const IMPATIENT: [(&str, &str); 2] =
    [("DELIVERY__GIVE_UP__FAILURES", "1"), ("DELIVERY__GIVE_UP__AFTER", "0s")];

#[test]
fn a_platform_that_is_away_is_asked_now_and_then_and_gets_everything_once_it_is_back() {
    let (broker, platform) = (Broker::with_partitions(2), Platform::with(|_| Answer::Fail));
    (0..300).for_each(|order| broker.order(i32::from(order % 2 == 0), order));
    let member = Member::join("only", &broker, &platform, &IMPATIENT);
    let (_, detail) = member.await_alarm(PLATFORM_UNAVAILABLE);
    assert!(detail.contains("503, as the test wants"), "{detail}");
    assert!(member.readiness.is_ready(), "no other replica would do better");
    let before = platform.await_calls("the first calls have ended", |calls| calls.len() >= 100).len();
    let (since, probes) = (Instant::now(), 10);
    let calls = platform.await_calls("it is asked on", |calls| calls.len() >= before + probes).len() - before;
    let pace = Duration::from_millis(5);
    assert!(
        since.elapsed() > pace * u32::try_from(calls).unwrap() / 2,
        "{calls} calls in {:?}",
        since.elapsed()
    );

    platform.change_to(|_| Answer::Take);
    platform.await_taken("all of it", |taken| taken.len() == 300);
    broker.await_committed(0, 150);
    broker.await_committed(1, 150);
    member.await_no_alarm();
    member.stop();
    assert_eq!((broker.dead_letters(0).len(), broker.dead_letters(1).len()), (0, 0));
}

#[test]
fn a_platform_that_wants_patience_gets_it_and_then_everything() {
    const PATIENCE: Duration = Duration::from_secs(2);
    let throttled = AtomicBool::new(false);
    let first_is_throttled = move |_: &Receipt| {
        if throttled.swap(true, Ordering::Relaxed) { Answer::Take } else { Answer::Throttle(PATIENCE) }
    };
    let (broker, platform) = (Broker::with_partitions(1), Platform::with(first_is_throttled));
    (0..50).for_each(|order| broker.order(0, order));
    let one_at_a_time = [("DELIVERY__IN_FLIGHT_LIMIT", "1"), IMPATIENT[0], IMPATIENT[1]];
    let member = Member::join("only", &broker, &platform, &one_at_a_time);
    platform.await_calls("the first call", |calls| !calls.is_empty());
    let asked = Instant::now();
    platform.await_taken("the first that is taken", |taken| !taken.is_empty());
    assert!(asked.elapsed() > PATIENCE / 2, "{:?}", asked.elapsed());
    platform.await_taken("all of it", |taken| taken.len() == 50);
    broker.await_committed(0, 50);
    member.stop();
    assert_eq!(broker.dead_letters(0).len(), 0);
}
