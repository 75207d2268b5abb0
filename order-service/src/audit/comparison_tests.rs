//! What is hidden from a comparison is found, and nothing else.

use super::*;
use crate::audit::content::StoredOrder;
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: usize = 3;

fn second(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn window() -> Window {
    Window { from: second(0), to: second(1000) }
}

/// The event of an order, made of its number.
fn id(order: i64) -> Uuid {
    Uuid::from_u128(order.unsigned_abs().into())
}

fn comparison(orders: impl IntoIterator<Item = i64>) -> Comparison {
    let mut told = Orders::default();
    orders.into_iter().for_each(|order| told.push(order, id(order), second(order), content(order)));
    Comparison::new(window(), told, LIMIT)
}

/// What an order says, and its event; made of its number.
fn content(order: i64) -> Content {
    let lines = vec![order, 1, 10];
    let user_id = order;
    let completed_at = second(order);
    Content::of_order(&StoredOrder {
        completed_at,
        user_id,
        coupon_id: None,
        total_amount: 10,
        discount_amount: 0,
        lines,
    })
}

fn event(order_id: i64, event_id: Uuid) -> Event {
    let content = Some(content(order_id));
    Event { order_id, event_id, occurred_at: second(order_id), content, wrong_key: None }
}

fn seen(event: Event) -> Seen {
    Seen { place: Place { partition: 0, offset: 7 }, time: Some(second(5)), content: Ok(event) }
}

fn report(comparison: Comparison) -> Report {
    comparison.report(&Kept::default())
}

/// What the command's help, the README and the module's header say.
#[test]
fn an_order_takes_forty_eight_bytes() {
    assert_eq!(size_of::<Standing>(), 48);
}

#[test]
fn a_record_that_says_something_else_than_its_order_is_found_and_is_its_event_all_the_same() {
    let mut comparison = comparison([1, 2, 3]);
    comparison.record(seen(event(1, id(1))));
    comparison.record(seen(Event { content: Some(content(9)), ..event(2, id(2)) }));
    comparison.record(seen(Event { content: None, ..event(3, id(3)) }));
    let report = report(comparison);
    let different: Vec<i64> = report.findings.different.first.iter().map(|one| one.order_id).collect();
    assert_eq!((different, report.counts.published), (vec![2, 3], 3));
    assert_eq!(report.broken(false).unwrap(), "2 record(s) that say something else than their order");
}

#[test]
fn the_beginning_of_a_window_belongs_to_it_and_its_end_does_not() {
    let moments = [-1, 0, 999, 1000].map(|moment| window().contains(second(moment)));
    assert_eq!(moments, [false, true, true, false]);
}

#[test]
fn a_record_is_of_an_order_only_with_both_ids() {
    let mut comparison = comparison([1, 2]);
    comparison.record(seen(event(1, id(2))));
    comparison.record(seen(event(2, id(2))));
    let report = report(comparison);
    assert_eq!(report.findings.missing.first[0].order_id, 1);
    let unexpected = report.findings.unexpected.first[0];
    assert_eq!((unexpected.order_id, unexpected.event_id), (1, id(2)));
    assert_eq!(unexpected.stored_event_id, Some(id(1)));
    assert_eq!(report.counts.published, 1);
}

#[test]
fn a_stranger_is_unexpected_only_if_the_database_does_not_know_it() {
    let mut comparison = comparison([]);
    for order in [1, 2, 3] {
        comparison.record(seen(event(order, id(order))));
    }
    let strangers = comparison.strangers();
    assert_eq!((strangers.len(), comparison.strangers_waiting()), (3, 0));
    comparison.introduce(strangers, &HashMap::from([(1, id(1)), (2, id(9))]));
    let report = report(comparison);
    assert_eq!(report.counts.records_of_other_orders, 1);
    let told: Vec<_> = report.findings.unexpected.first.iter().map(|told| told.order_id).collect();
    assert_eq!(told, [2, 3]);
}

#[test]
fn a_row_that_waits_counts_only_for_an_order_without_a_record() {
    let mut comparison = comparison([1, 2, 3, 4]);
    comparison.waits(1, id(1), Waits::Pending);
    comparison.waits(2, id(2), Waits::Quarantined);
    comparison.waits(3, id(3), Waits::Pending);
    comparison.waits(4, id(9), Waits::Pending);
    comparison.waits(5, id(5), Waits::Pending);
    comparison.record(seen(event(3, id(3))));
    let Findings { missing, pending, quarantined, .. } = report(comparison).findings;
    assert_eq!((pending.first[0].order_id, pending.count), (1, 1));
    assert_eq!((quarantined.first[0].order_id, quarantined.count), (2, 1));
    assert_eq!((missing.first[0].order_id, missing.count), (4, 1), "another event's row is not this order's");
}

#[test]
fn only_an_order_older_than_what_its_own_partition_keeps_is_beyond_retention() {
    let orders = 1..100;
    let of = |order: i64| partition_of(record_key(order).as_bytes(), 2);
    let kept = Kept(vec![Some(second(50)), None]);
    let report = comparison(orders.clone()).report(&kept);
    let beyond = orders.filter(|order| of(*order) == 0 && *order < 50).count() as u64;
    assert!(beyond > 0);
    assert_eq!(report.findings.beyond_retention.count, beyond);
    assert_eq!(report.findings.missing.count, 99 - beyond);
}

#[test]
fn what_cannot_be_read_counts_if_kafka_took_it_within_the_window() {
    let mut comparison = comparison([]);
    for time in [Some(second(-1)), Some(second(5)), Some(second(1000)), None] {
        let place = Place { partition: 0, offset: 7 };
        comparison.record(Seen { place, time, content: Err("no JSON".to_owned()) });
    }
    assert_eq!(report(comparison).findings.unreadable.count, 2);
}

#[test]
fn a_wrong_key_is_found_and_its_event_is_there_all_the_same() {
    let mut comparison = comparison([1]);
    comparison.record(seen(Event { wrong_key: Some("2".to_owned()), ..event(1, id(1)) }));
    let report = report(comparison);
    assert_eq!((report.counts.published, report.findings.wrong_key.count), (1, 1));
    assert_eq!(report.broken(false).as_deref(), Some("1 record(s) under a wrong key"));
}

#[test]
fn findings_beyond_the_limit_are_counted_and_repeats_break_only_a_strict_promise() {
    let mut comparison = comparison(1..=9);
    for order in (1..=9).chain(1..=5).chain([1]) {
        comparison.record(seen(event(order, id(order))));
    }
    let report = report(comparison);
    let repeated = &report.findings.repeated;
    assert_eq!((repeated.count, repeated.first.len(), repeated.first[0].records), (5, LIMIT, 3));
    assert_eq!(report.broken(false), None);
    assert_eq!(report.broken(true).as_deref(), Some("5 event(s) more than once"));
    assert!(report.to_string().contains("repeated: 2 more (--limit)"), "{report}");
}

/// What has happened to an order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Lost,
    Pending,
    Quarantined,
    Published(u16),
    PublishedAndPending,
    /// Committed after the orders were read.
    Newer,
    /// In the topic only.
    Invented,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Lost),
        Just(Fate::Pending),
        Just(Fate::Quarantined),
        (1..4_u16).prop_map(Fate::Published),
        Just(Fate::PublishedAndPending),
        Just(Fate::Newer),
        Just(Fate::Invented),
    ]
}

/// An order's id, and what its fate leaves in the topic.
fn records((order, fate): (i64, Fate)) -> Vec<Event> {
    let records = match fate {
        Fate::Lost | Fate::Pending | Fate::Quarantined => 0,
        Fate::Published(records) => usize::from(records),
        Fate::PublishedAndPending | Fate::Newer | Fate::Invented => 1,
    };
    vec![event(order, id(order)); records]
}

proptest! {
    #[test]
    fn every_order_is_told_by_its_fate_in_whatever_order_its_records_come(
        (fates, order_of_records, some) in vec(any_fate(), 0..40).prop_flat_map(|fates| {
            let fates: Vec<(i64, Fate)> = (1..).zip(fates).collect();
            let all: Vec<Event> = fates.iter().copied().flat_map(records).collect();
            (Just(fates), Just(all).prop_shuffle(), 1..5_usize)
        })
    ) {
        let stood = |fate: Fate| !matches!(fate, Fate::Newer | Fate::Invented);
        let mut comparison = comparison(fates.iter().rev().filter(|(_, fate)| stood(*fate)).map(|(order, _)| *order));
        for (order, fate) in &fates {
            match fate {
                Fate::Pending | Fate::PublishedAndPending => comparison.waits(*order, id(*order), Waits::Pending),
                Fate::Quarantined => comparison.waits(*order, id(*order), Waits::Quarantined),
                Fate::Lost | Fate::Published(_) | Fate::Newer | Fate::Invented => {}
            }
        }
        let newer: HashMap<i64, Uuid> =
            fates.iter().filter(|(_, fate)| *fate == Fate::Newer).map(|(order, _)| (*order, id(*order))).collect();
        for (index, event) in order_of_records.into_iter().enumerate() {
            comparison.record(seen(event));
            if index % some == 0 {
                let strangers = comparison.strangers();
                comparison.introduce(strangers, &newer);
            }
        }
        let strangers = comparison.strangers();
        comparison.introduce(strangers, &newer);
        let Report { counts, findings, .. } = report(comparison);
        let of = |wanted: &dyn Fn(Fate) -> bool| fates.iter().filter(|(_, fate)| wanted(*fate)).count() as u64;
        prop_assert_eq!(counts.orders, of(&stood));
        prop_assert_eq!(findings.missing.count, of(&|fate| fate == Fate::Lost));
        prop_assert_eq!(findings.pending.count, of(&|fate| fate == Fate::Pending));
        prop_assert_eq!(findings.quarantined.count, of(&|fate| fate == Fate::Quarantined));
        prop_assert_eq!(findings.repeated.count, of(&|fate| matches!(fate, Fate::Published(2..))));
        prop_assert_eq!(findings.unexpected.count, of(&|fate| fate == Fate::Invented));
        prop_assert_eq!(counts.records_of_other_orders, of(&|fate| fate == Fate::Newer));
        let missing: Vec<i64> = findings.missing.first.iter().map(|told| told.order_id).collect();
        prop_assert!(missing.is_sorted() && missing.len() <= LIMIT);
    }
}
