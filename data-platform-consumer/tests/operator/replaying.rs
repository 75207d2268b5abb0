//! `dead-letters replay`: what the platform takes is resolved, what it does not stays open, and nothing else changes.

use std::time::Duration;

use data_platform_consumer::operator::Stop;
use data_platform_consumer::operator::dead_letters::DeadLettersError;
use data_platform_consumer::sink::DeliveryFailure;
use shared_messages::dead_letter::{DeadLetter, DeadLetterCause};

use crate::broker::{Broker, DEAD_LETTERS, TOPIC, letter};
use crate::commands::{dead_letters, dead_letters_as, open, replay};
use crate::platform::{Manner, Platform};

#[test]
fn without_yes_it_says_what_it_would_do_and_delivers_nothing() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 1);
    let platform = Platform::taking_everything();
    let said = replay(&broker.address, &platform, "--all").said();
    assert!(said.ends_with("1 would be delivered again, to the sink log; say --yes to do it\n"), "{said}");
    assert!(platform.called().is_empty());
    assert_eq!(broker.ends(DEAD_LETTERS), [1]);
}

#[test]
fn what_is_taken_is_resolved_and_told_to_the_platform_as_the_first_time() {
    let broker = Broker::with_partitions(2);
    broker.complete(1, b"{}");
    broker.park(0, 1);
    broker.park(1, 2);
    broker.park(1, 3);
    let platform = Platform::taking_everything();
    let said = replay(&broker.address, &platform, "0:0 1:1 --yes").said();
    assert!(said.ends_with("2 replayed\n"), "{said}");
    let mut keys: Vec<String> = platform.taken().into_iter().map(|receipt| receipt.idempotency_key).collect();
    keys.sort();
    assert_eq!(
        keys,
        ["order-completed-0-1", "order-completed-1-3"],
        "where they lay before they were parked"
    );
    assert_eq!(open(&broker.address), ["1:0"], "what was not named is left alone");
    assert_eq!((broker.ends(DEAD_LETTERS), broker.ends(TOPIC)), ([2, 3], [0, 1]));
    let group = "data-platform-consumer-dead-letter-replay";
    assert_eq!((broker.committed(group, 0), broker.committed(group, 1)), (None, None));
}

#[test]
fn one_that_still_fails_stays_open_and_holds_back_the_later_ones_of_its_key() {
    let broker = Broker::with_partitions(1);
    for (key, order_id) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
        broker.park_keyed(0, key, order_id);
    }
    let answer = replay(&broker.address, &Platform::refusing(&[1]), "--all --yes");
    assert!(matches!(answer.ended, Err(DeadLettersError::NotReplayed { left: 3, all: 4 })), "{answer:?}");
    for expected in
        ["still fails: 410: order 1 is gone", "held back by 0:0", "1 replayed, 1 still failing, 2 held back"]
    {
        assert!(answer.said.contains(expected), "{expected} in {}", answer.said);
    }
    assert_eq!(open(&broker.address), ["0:0", "0:1", "0:3"]);
    assert_eq!(broker.ends(DEAD_LETTERS), [5], "it is not parked again");
    let platform = Platform::taking_everything();
    replay(&broker.address, &platform, "--all --yes").said();
    assert_eq!(platform.orders_taken(), [1, 2, 4]);
    assert!(open(&broker.address).is_empty());
}

#[test]
fn a_platform_that_is_away_is_tried_so_often_and_then_it_stays_open() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 1);
    let platform = Platform::with(|_| Manner::Fail(DeliveryFailure::unavailable("503")));
    let answer = replay(&broker.address, &platform, "--all --yes --attempts 4");
    assert!(answer.ended.is_err(), "{answer:?}");
    assert_eq!(platform.called(), [1, 1, 1, 1]);
    assert_eq!(open(&broker.address), ["0:0"]);
}

#[test]
fn a_platform_that_takes_nothing_from_us_ends_the_replay() {
    let broker = Broker::with_partitions(1);
    (1..=20).for_each(|order_id| broker.park(0, order_id));
    let platform = Platform::with(|_| Manner::Fail(DeliveryFailure::misconfigured("401")));
    let answer = replay(&broker.address, &platform, "--all --yes");
    assert!(answer.said.contains("ended early: the platform takes nothing from us: 401"), "{answer:?}");
    assert!(matches!(answer.ended, Err(DeadLettersError::NotReplayed { left: 20, all: 20 })), "{answer:?}");
    assert!(platform.called().len() <= 4, "what was on its way, and no more: {:?}", platform.called());
}

#[test]
fn a_platform_that_wants_to_be_left_alone_for_long_is_and_the_replay_ends() {
    let broker = Broker::with_partitions(1);
    (1..=20).for_each(|order_id| broker.park(0, order_id));
    let patience = Some(Duration::from_mins(5));
    let platform = Platform::with(move |_| Manner::Fail(DeliveryFailure::throttled("429", patience)));
    let answer = replay(&broker.address, &platform, "--all --yes");
    assert!(answer.said.contains("ended early: the platform takes nothing from us: 429"), "{answer:?}");
    assert!(answer.said.contains("run it again in 300s"), "{answer:?}");
    assert!(matches!(answer.ended, Err(DeadLettersError::NotReplayed { left: 20, all: 20 })), "{answer:?}");
    assert!(platform.called().len() <= 4, "what was on its way, and no more: {:?}", platform.called());
}

#[test]
fn one_that_cannot_be_read_stays_open_and_holds_up_nobody_else() {
    let broker = Broker::with_partitions(1);
    let undecodable = DeadLetter { cause: DeadLetterCause::Undecodable, ..letter(0, 1) };
    broker.park_bytes(0, "x", b"{", &undecodable);
    broker.park(0, 2);
    let answer = replay(&broker.address, &Platform::taking_everything(), "--all --yes");
    assert!(
        answer.said.contains("0:0      order -        still fails: it cannot be read"),
        "{}",
        answer.said
    );
    assert_eq!(open(&broker.address), ["0:0"]);
}

#[test]
fn a_sink_that_panics_has_failed() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 1);
    let platform = Platform::with(|_| panic!("a sink that panics, as this test wants"));
    let answer = replay(&broker.address, &platform, "--all --yes");
    assert!(answer.said.contains("still fails: the sink broke down"), "{}", answer.said);
    assert_eq!(open(&broker.address), ["0:0"]);
}

#[test]
fn what_a_stop_cuts_off_stays_open_and_what_is_on_its_way_ends_well() {
    let broker = Broker::with_partitions(1);
    (1..=9).for_each(|order_id| broker.park(0, order_id));
    let stop = Stop::default();
    let asked = stop.clone();
    let platform = Platform::with(move |_| {
        asked.ask();
        Manner::TakeAfter(Duration::from_millis(200))
    });
    let answer = dead_letters_as("only", &broker.address, &platform, "replay --all --yes", &stop);
    assert!(answer.said.contains("the replay ended early: it was stopped"), "{}", answer.said);
    let taken = platform.orders_taken().len();
    assert!(taken < 9, "all of them were taken");
    assert_eq!(open(&broker.address).len(), 9 - taken, "everything that was taken is resolved");
    assert_eq!(platform.called().len(), taken);
}

#[test]
fn what_is_discarded_before_its_turn_is_not_delivered() {
    let broker = Broker::with_partitions(1);
    for order_id in [1, 2] {
        broker.park_keyed(0, "a", order_id);
    }
    let address = broker.address.clone();
    let platform = Platform::with(move |order_id| {
        assert_eq!(order_id, 1, "the second was discarded");
        let address = address.clone();
        let discarding = std::thread::spawn(move || dead_letters(&address, "discard 0:1 --yes").said());
        discarding.join().unwrap();
        Manner::TakeAfter(Duration::from_secs(1))
    });
    let answer = replay(&broker.address, &platform, "--all --yes");
    assert!(answer.said.contains("0:1      order 2        discarded by somebody meanwhile"), "{answer:?}");
    assert!(matches!(answer.ended, Err(DeadLettersError::NotReplayed { left: 1, all: 2 })), "{answer:?}");
    assert_eq!(platform.orders_taken(), [1]);
}

/// It was delivered, but as long as nobody knows so, it is not done.
#[test]
fn what_cannot_be_resolved_stays_open_though_it_was_taken() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 1);
    broker.refuse_writes();
    let platform = Platform::taking_everything();
    let answer = replay(&broker.address, &platform, "--all --yes --kafka-timeout 5s");
    assert!(
        answer.said.contains("still fails: it was delivered, but the resolution was not acknowledged"),
        "{answer:?}"
    );
    assert!(matches!(answer.ended, Err(DeadLettersError::NotReplayed { left: 1, all: 1 })), "{answer:?}");
    assert_eq!((platform.orders_taken(), open(&broker.address)), (vec![1], vec!["0:0".to_owned()]));
}

#[test]
fn a_group_that_may_not_be_joined_is_told_with_what_to_do() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 1);
    broker.refuse_the_group();
    let refused = replay(&broker.address, &Platform::taking_everything(), "--all --yes --kafka-timeout 10s")
        .ended
        .unwrap_err();
    let expected = "have Read granted on group data-platform-consumer-dead-letter-replay";
    assert!(refused.to_string().contains(expected), "{refused}");
    assert_eq!(open(&broker.address), ["0:0"]);
}
