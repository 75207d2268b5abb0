//! What is in flight, with the clock in the test's hand.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const EVENT: Uuid = Uuid::nil();
const PARTITION: u32 = 0;

#[test]
fn a_key_waits_until_the_row_of_its_earlier_event_is_gone_and_others_do_not() {
    let mut in_flight = InFlight::new(Bound { events: 10, bytes: 1000 });
    in_flight.start(1, "a", EVENT, PARTITION, 10);
    assert_eq!(in_flight.admit("a", 10), Admission::KeyBusy);
    assert_eq!(in_flight.admit("b", 10), Admission::Granted);
    in_flight.acknowledged(1);
    assert_eq!(in_flight.admit("a", 10), Admission::KeyBusy);
    in_flight.finish(1);
    assert_eq!(in_flight.admit("a", 10), Admission::Granted);
}

#[test]
fn an_event_larger_than_the_bound_travels_alone() {
    let mut in_flight = InFlight::new(Bound { events: 10, bytes: 100 });
    assert_eq!(in_flight.admit("a", 500), Admission::Granted);
    in_flight.start(1, "a", EVENT, PARTITION, 500);
    assert_eq!(in_flight.admit("b", 1), Admission::Full);
    in_flight.acknowledged(1);
    assert_eq!(in_flight.admit("b", 1), Admission::Granted);
}

#[test]
fn overdue_is_what_was_handed_before_and_not_acknowledged() {
    let mut in_flight = InFlight::new(Bound { events: 10, bytes: 1000 });
    let begin = Instant::now();
    let at = |millis| begin + Duration::from_millis(millis);
    for (seq, key, partition) in [(1, "a", 10), (2, "b", 20), (3, "c", 30), (4, "d", 40)] {
        in_flight.start(seq, key, EVENT, partition, 1);
    }
    in_flight.handed(2, at(10));
    in_flight.handed(1, at(20));
    in_flight.handed(4, at(30));
    let overdue = |in_flight: &InFlight, millis| in_flight.handed_before(at(millis)).collect::<Vec<_>>();
    assert_eq!(overdue(&in_flight, 10), Vec::<u32>::new());
    assert_eq!(overdue(&in_flight, 30), [20, 10]);
    in_flight.acknowledged(1);
    assert_eq!(overdue(&in_flight, 31), [20, 40]);
    in_flight.finish(2);
    assert_eq!(overdue(&in_flight, 31), [40]);
    assert_eq!(in_flight.on_their_way().collect::<Vec<_>>(), [(4, 40)]);
}

#[test]
fn a_partitions_shares_are_counted_by_events_and_by_bytes() {
    let mut in_flight = InFlight::new(Bound { events: 9, bytes: 900 });
    for (seq, key, partition) in [(1, "a", 0), (2, "b", 1), (3, "c", 0), (4, "d", 0)] {
        assert_eq!(in_flight.shares_of(0, 2), 0);
        in_flight.start(seq, key, EVENT, partition, 1);
    }
    assert_eq!((in_flight.shares_of(0, 2), in_flight.shares_of(1, 2), in_flight.shares_of(2, 2)), (1, 0, 0));
    in_flight.acknowledged(1);
    assert_eq!(in_flight.shares_of(0, 2), 0);
    in_flight.finish(1);
    in_flight.start(5, "large", EVENT, 0, 600);
    assert_eq!(in_flight.shares_of(0, 2), 2);
    in_flight.finish(5);
    assert_eq!(in_flight.shares_of(0, 2), 0);
    in_flight.rebook(|_| 7);
    assert_eq!((in_flight.shares_of(0, 2), in_flight.shares_of(1, 2), in_flight.shares_of(7, 2)), (0, 0, 1));
}

#[test]
fn one_that_is_never_acknowledged_costs_no_memory_for_those_behind_it() {
    let mut in_flight = InFlight::new(Bound { events: 10, bytes: 1000 });
    let now = Instant::now();
    in_flight.start(0, "stuck", EVENT, PARTITION, 1);
    in_flight.handed(0, now);
    for seq in 1..10_000 {
        in_flight.start(seq, "moving", EVENT, PARTITION, 1);
        in_flight.handed(seq, now);
        in_flight.finish(seq);
    }
    assert!(in_flight.handed.len() <= FEW + 4, "{}", in_flight.handed.len());
    assert_eq!(in_flight.handed_before(now + Duration::from_secs(1)).collect::<Vec<_>>(), [PARTITION]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Read,
    Hand,
    Acknowledge,
    Finish,
}

proptest! {
    /// Any sequence of reads, acknowledgements, deletes and refusals: never two of a key, never beyond the bound.
    #[test]
    fn never_two_of_a_key_and_never_beyond_the_bound(
        steps in prop::collection::vec(
            (
                prop::sample::select(vec![Step::Read, Step::Hand, Step::Acknowledge, Step::Finish]),
                0..6_u8,
                1..50_usize,
                any::<prop::sample::Index>(),
            ),
            0..300,
        ),
    ) {
        let bound = Bound { events: 4, bytes: 100 };
        let mut in_flight = InFlight::new(bound);
        // By seq: key, bytes, whether handed, whether acknowledged.
        let mut model: BTreeMap<i64, (String, usize, bool, bool)> = BTreeMap::new();
        let now = Instant::now();
        for (seq, (step, key, bytes, index)) in (0_i64..).zip(steps) {
            let chosen = (!model.is_empty()).then(|| *index.get(&model.keys().copied().collect::<Vec<_>>()));
            match (step, chosen) {
                (Step::Read, _) => {
                    let key = key.to_string();
                    if in_flight.admit(&key, bytes) == Admission::Granted {
                        prop_assert!(model.values().all(|(other, ..)| *other != key));
                        in_flight.start(seq, &key, EVENT, PARTITION, bytes);
                        model.insert(seq, (key, bytes, false, false));
                    }
                }
                (Step::Hand, Some(chosen)) if !model[&chosen].2 && !model[&chosen].3 => {
                    in_flight.handed(chosen, now);
                    model.get_mut(&chosen).unwrap().2 = true;
                }
                (Step::Acknowledge, Some(chosen)) => {
                    in_flight.acknowledged(chosen);
                    model.get_mut(&chosen).unwrap().3 = true;
                }
                (Step::Finish, Some(chosen)) => {
                    in_flight.finish(chosen);
                    model.remove(&chosen);
                }
                _ => {}
            }
            let awaited: Vec<usize> = model.values().filter(|event| !event.3).map(|event| event.1).collect();
            let total: usize = awaited.iter().sum();
            prop_assert_eq!(in_flight.awaited(), awaited.len());
            prop_assert!(awaited.len() <= bound.events && (total <= bound.bytes || awaited.len() == 1));
            let mut on_their_way: Vec<i64> = in_flight.on_their_way().map(|(seq, _)| seq).collect();
            on_their_way.sort_unstable();
            let expected: Vec<i64> =
                model.iter().filter(|(_, event)| event.2 && !event.3).map(|(seq, _)| *seq).collect();
            prop_assert_eq!(on_their_way, expected.clone());
            prop_assert_eq!(in_flight.handed_before(now + Duration::from_nanos(1)).count(), expected.len());
        }
        for seq in model.into_keys() {
            in_flight.finish(seq);
        }
        prop_assert!(in_flight.is_empty() && in_flight.admit("0", 100) == Admission::Granted);
    }
}
