//! A judge that cannot condemn is worth nothing: every promise is broken here, and the ledger must say which.

use ledger::{Finding, Ledger};
use proptest::prelude::*;

/// Three orders of three requests, kept in full; the events of the key `10` are two.
fn kept() -> Ledger {
    let mut ledger = Ledger::default();
    for (request, order) in [("r1", "10"), ("r2", "11"), ("r3", "12")] {
        ledger.requested(request);
        ledger.acknowledged(request, order);
        ledger.order(order, request);
    }
    for (place, (key, event)) in [("10", "a"), ("11", "b"), ("12", "c"), ("10", "d")].into_iter().enumerate()
    {
        ledger.committed(key, event);
        ledger.recorded(i32::from(key != "10"), i64::try_from(place).unwrap_or_default(), key, event);
        ledger.received(event);
    }
    ledger
}

fn finds(ledger: &Ledger, expected: &[Finding]) {
    let balance = ledger.balance();
    assert_eq!(balance.findings(), expected, "{balance}");
    assert_eq!(balance.is_balanced(), expected.is_empty());
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn a_kept_promise_balances() {
    finds(&kept(), &[]);
    assert!(kept().balance().to_string().ends_with("every key in order"));
}

#[test]
fn repeats_are_counted_and_no_fault() {
    let mut ledger = kept();
    ledger.recorded(0, 7, "10", "a");
    ledger.recorded(0, 7, "10", "a");
    ledger.received("a");
    ledger.received("a");
    finds(&ledger, &[]);
    let counts = ledger.balance().counts();
    assert_eq!((counts.records, counts.repeated_records), (5, 1), "a record that is read twice is one");
    assert_eq!((counts.receipts, counts.repeated_receipts), (6, 2));
}

#[test]
fn an_unclear_answer_allows_one_order_or_none() {
    let mut ledger = kept();
    ledger.requested("r4");
    finds(&ledger, &[]);
    ledger.requested("r5");
    ledger.order("13", "r5");
    ledger.committed("13", "e");
    ledger.recorded(1, 9, "13", "e");
    ledger.received("e");
    finds(&ledger, &[]);
    assert_eq!(ledger.balance().counts().unclear, 2);
}

#[test]
fn a_promised_order_that_is_not_there_is_found() {
    let mut ledger = kept();
    ledger.acknowledged("r4", "13");
    finds(&ledger, &[Finding::OrderLost { request_key: text("r4"), order: text("13") }]);
}

#[test]
fn an_order_that_is_there_under_another_id_than_promised_is_found() {
    let mut ledger = kept();
    ledger.acknowledged("r3", "99");
    let orders = vec![text("12"), text("99")];
    finds(
        &ledger,
        &[
            Finding::OrderLost { request_key: text("r3"), order: text("99") },
            Finding::PromisedDifferently { request_key: text("r3"), orders },
        ],
    );
}

#[test]
fn an_earlier_promise_is_not_forgotten_over_a_later_one() {
    let mut ledger = Ledger::default();
    ledger.acknowledged("r1", "1");
    ledger.acknowledged("r1", "2");
    ledger.order("2", "r1");
    ledger.committed("2", "a");
    ledger.recorded(0, 0, "2", "a");
    ledger.received("a");
    let orders = vec![text("1"), text("2")];
    finds(
        &ledger,
        &[
            Finding::OrderLost { request_key: text("r1"), order: text("1") },
            Finding::PromisedDifferently { request_key: text("r1"), orders },
        ],
    );
}

#[test]
fn an_event_id_that_was_committed_twice_is_found() {
    let mut ledger = kept();
    ledger.committed("11", "b");
    let found = ledger.balance();
    assert!(found.findings().contains(&Finding::CommittedTwice { event: text("b") }), "{found}");
}

#[test]
fn a_request_that_bought_twice_is_found() {
    let mut ledger = kept();
    ledger.order("12", "r2");
    finds(&ledger, &[Finding::BoughtTwice { request_key: text("r2"), orders: vec![text("11"), text("12")] }]);
}

#[test]
fn a_refusal_that_bought_is_found() {
    let mut ledger = kept();
    ledger.refused("r4");
    ledger.order("12", "r4");
    finds(&ledger, &[Finding::RefusedButBought { request_key: text("r4"), order: text("12") }]);
}

#[test]
fn a_refusal_is_not_forgotten_over_a_promise_that_came_before_or_after_it() {
    let mut before = Ledger::default();
    before.requested("r1");
    before.refused("r1");
    for mut ledger in [before, Ledger::default()] {
        ledger.requested("r1");
        ledger.acknowledged("r1", "1");
        ledger.order("1", "r1");
        ledger.committed("1", "a");
        ledger.recorded(0, 0, "1", "a");
        ledger.received("a");
        // Twice for the first of them, which is one lie.
        ledger.refused("r1");
        finds(&ledger, &[Finding::RefusedButBought { request_key: text("r1"), order: text("1") }]);
        assert_eq!(ledger.balance().counts().acknowledged, 1);
    }
}

#[test]
fn an_attempt_that_did_nothing_says_nothing_of_the_others_under_its_key() {
    let mut ledger = kept();
    ledger.requested("r3");
    ledger.turned_away("r3");
    finds(&ledger, &[]);
    ledger.requested("r4");
    ledger.requested("r4");
    ledger.turned_away("r4");
    finds(&ledger, &[]);
    assert_eq!(ledger.balance().counts().unclear, 1);
}

#[test]
fn an_order_of_attempts_of_which_each_did_nothing_is_found() {
    let mut ledger = kept();
    for _ in 0..2 {
        ledger.requested("r4");
        ledger.turned_away("r4");
    }
    finds(&ledger, &[]);
    assert_eq!(ledger.balance().counts().refused, 1);
    ledger.order("12", "r4");
    finds(&ledger, &[Finding::RefusedButBought { request_key: text("r4"), order: text("12") }]);
}

#[test]
fn an_order_that_nobody_asked_for_is_found() {
    let mut ledger = kept();
    ledger.order("12", "r9");
    finds(&ledger, &[Finding::NeverAskedFor { order: text("12") }]);
}

#[test]
fn an_order_without_an_event_is_found() {
    let mut ledger = kept();
    ledger.requested("r4");
    ledger.order("13", "r4");
    finds(&ledger, &[Finding::NoEvent { order: text("13") }]);
}

#[test]
fn an_event_that_stopped_on_its_way_is_found() {
    let mut ledger = kept();
    ledger.committed("10", "e");
    let lost = [Finding::NotRecorded { event: text("e") }, Finding::NotReceived { event: text("e") }];
    finds(&ledger, &lost);
    ledger.recorded(0, 9, "10", "e");
    finds(&ledger, &lost[1..]);
}

#[test]
fn what_was_rolled_back_is_found_in_the_topic_and_at_the_platform() {
    let mut ledger = kept();
    ledger.recorded(1, 9, "11", "e");
    ledger.received("e");
    finds(
        &ledger,
        &[
            Finding::RecordedUncommitted { event: text("e") },
            Finding::ReceivedUncommitted { event: text("e") },
        ],
    );
}

#[test]
fn a_record_under_the_wrong_key_is_found() {
    let mut ledger = kept();
    ledger.recorded(1, 9, "12", "b");
    finds(&ledger, &[Finding::WrongKey { event: text("b"), key: text("12") }]);
}

#[test]
fn a_key_in_two_partitions_is_found() {
    let mut ledger = kept();
    ledger.recorded(2, 0, "11", "b");
    finds(&ledger, &[Finding::KeyInSeveralPartitions { key: text("11"), partitions: vec![1, 2] }]);
}

#[test]
fn two_events_of_a_key_in_the_wrong_order_are_found_at_both_stations() {
    let mut ledger = Ledger::default();
    for event in ["a", "b", "c"] {
        ledger.committed("10", event);
    }
    for (offset, event) in ["b", "a", "c", "b"].into_iter().enumerate() {
        ledger.recorded(0, i64::try_from(offset).unwrap_or_default(), "10", event);
        ledger.received(event);
    }
    finds(
        &ledger,
        &[
            Finding::RecordedOutOfOrder { key: text("10"), event: text("a") },
            Finding::ReceivedOutOfOrder { key: text("10"), event: text("a") },
        ],
    );
}

#[test]
fn more_findings_than_a_person_reads_are_counted() {
    let mut ledger = kept();
    for order in 100..130 {
        ledger.acknowledged(&format!("r{order}"), &order.to_string());
    }
    let told = ledger.balance().to_string();
    assert_eq!(told.matches("BROKEN ").count(), 20, "{told}");
    assert!(told.ends_with("NOT BALANCED: 30 promises broken, 10 not shown"), "{told}");
}

proptest! {
    /// Whatever is repeated, once each event came in order, balances; and so does no world that misses one receipt.
    #[test]
    fn repeats_anywhere_balance_and_a_gap_anywhere_does_not(
        keys in proptest::collection::vec(0_u8..4, 1..40),
        repeats in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        missing in any::<proptest::sample::Index>(),
    ) {
        let mut ledger = Ledger::default();
        let mut with_gap = Ledger::default();
        let missing = missing.index(keys.len());
        for (place, key) in keys.iter().enumerate() {
            let (key, event) = (key.to_string(), format!("event-{place}"));
            for ledger in [&mut ledger, &mut with_gap] {
                ledger.committed(&key, &event);
                ledger.recorded(0, i64::try_from(place).unwrap_or_default(), &key, &event);
            }
            ledger.received(&event);
            if place != missing {
                with_gap.received(&event);
            }
        }
        for index in &repeats {
            ledger.received(&format!("event-{}", index.index(keys.len())));
        }
        prop_assert!(ledger.balance().is_balanced(), "{}", ledger.balance());
        prop_assert_eq!(ledger.balance().counts().repeated_receipts, repeats.len());
        let lost = Finding::NotReceived { event: format!("event-{missing}") };
        let with_gap = with_gap.balance();
        prop_assert_eq!(with_gap.findings(), &[lost]);
    }
}
