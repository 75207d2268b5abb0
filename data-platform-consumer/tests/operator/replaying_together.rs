//! Two replays at a time share the work, and nothing is delivered twice.

use std::collections::{BTreeSet, HashMap};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use data_platform_consumer::operator::Stop;

use crate::broker::{Broker, DEAD_LETTERS, TOPIC};
use crate::commands::{dead_letters_as, open};
use crate::platform::{Manner, Platform};

const KEYS: i64 = 5;
const ORDERS_OF_A_PARTITION: i64 = 40;

#[test]
fn two_replays_at_once_deliver_each_once_and_in_key_order() {
    let broker = Broker::with_partitions(2);
    broker.complete(0, b"{}");
    // Order 17 of partition 1 is 1,017; its key is 17 modulo 5.
    for (partition, first) in [(0, 0), (1, 1_000)] {
        for order in 0..ORDERS_OF_A_PARTITION {
            broker.park_keyed(partition, &(order % KEYS).to_string(), first + order);
        }
    }
    let platform = Platform::with(|_| Manner::TakeAfter(Duration::from_millis(250)));
    let together = Barrier::new(2);
    let answers = std::thread::scope(|scope| {
        let replay = |name| {
            let (brokers, platform, together) = (&broker.address, &platform, &together);
            scope.spawn(move || {
                together.wait();
                dead_letters_as(name, brokers, platform, "replay --all --yes", &Stop::default())
            })
        };
        [replay("one"), replay("two")].map(|replay| replay.join().unwrap())
    });
    let [one, two] = answers.map(|answer| {
        assert!(answer.ended.is_ok(), "{answer:?}");
        answer.said
    });

    let taken = platform.taken();
    let mut of_key: HashMap<(i64, i64), Vec<i64>> = HashMap::new();
    for receipt in &taken {
        let (partition, order) = (receipt.order_id / 1_000, receipt.order_id % 1_000);
        of_key.entry((partition, order % KEYS)).or_default().push(order);
    }
    assert_eq!(taken.len(), 80, "each once: {of_key:?}");
    assert_eq!(platform.called().len(), 80);
    for (key, orders) in &of_key {
        assert!(orders.is_sorted(), "{key:?} was delivered as {orders:?}");
    }
    let replays: BTreeSet<&str> = taken.iter().map(|receipt| receipt.replay).collect();
    assert_eq!(replays.len(), 2, "both took part: {one} {two}");
    assert!(open(&broker.address).is_empty());
    assert_eq!((broker.ends(DEAD_LETTERS), broker.ends(TOPIC)), ([80, 80], [1, 0]));
}

/// What one replay has resolved is not delivered by the next owner of the partition, which reads that before it starts.
#[test]
fn a_replay_that_comes_later_takes_over_in_the_middle() {
    let broker = Broker::with_partitions(2);
    for (partition, first) in [(0, 0), (1, 1_000)] {
        (0..20).for_each(|order| broker.park(partition, first + order));
    }
    let platform = Platform::with(|_| Manner::TakeAfter(Duration::from_millis(500)));
    std::thread::scope(|scope| {
        let (brokers, platform) = (&broker.address, &platform);
        let replay = |name| {
            scope.spawn(move || {
                dead_letters_as(name, brokers, platform, "replay --all --yes", &Stop::default())
            })
        };
        let first = replay("first");
        wait_until("the first takes one", || !platform.taken().is_empty());
        let second = replay("second");
        for answer in [first, second].map(|replay| replay.join().unwrap()) {
            assert!(answer.ended.is_ok(), "{answer:?}");
        }
    });
    let mut orders = platform.orders_taken();
    orders.sort_unstable();
    let expected: Vec<i64> = (0..20).chain(1_000..1_020).collect();
    assert_eq!(orders, expected, "each once");
    let by_the_second = platform.taken().iter().filter(|receipt| receipt.replay == "second").count();
    assert!(by_the_second > 0, "the second took nothing over");
}

/// The group changes within five seconds here. So the calls are still on their way when the first one must hand over.
#[test]
fn what_is_on_its_way_is_waited_for_before_a_partition_is_handed_over() {
    let broker = Broker::with_partitions(2);
    broker.park(0, 1);
    broker.park(1, 2);
    let platform = Platform::with(|_| Manner::TakeAfter(Duration::from_secs(9)));
    std::thread::scope(|scope| {
        let (brokers, platform) = (&broker.address, &platform);
        let replay = |name| {
            scope.spawn(move || {
                dead_letters_as(name, brokers, platform, "replay --all --yes", &Stop::default())
            })
        };
        let first = replay("first");
        wait_until("both are on their way", || platform.called().len() >= 2);
        let second = replay("second");
        for answer in [first, second].map(|replay| replay.join().unwrap()) {
            assert!(answer.ended.is_ok(), "{answer:?}");
        }
    });
    assert_eq!(platform.called().len(), 2, "each once: {:?}", platform.called());
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::yield_now();
    }
}
