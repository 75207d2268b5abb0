//! `dead-letters discard`: only what is meant, and only if somebody says so twice.

use data_platform_consumer::operator::dead_letters::DeadLettersError;

use crate::broker::{Broker, DEAD_LETTERS, TOPIC};
use crate::commands::{dead_letters, open};

#[test]
fn without_yes_it_says_what_it_would_do_and_writes_nothing() {
    let broker = Broker::with_partitions(2);
    broker.park(0, 1);
    broker.park(1, 2);
    let said = dead_letters(&broker.address, "discard --all").said();
    assert!(said.contains("order-completed[1]@2"), "{said}");
    assert!(said.ends_with("2 would be discarded and never be delivered; say --yes to do it\n"), "{said}");
    assert_eq!(broker.ends(DEAD_LETTERS), [1, 1]);
}

#[test]
fn with_yes_all_that_are_meant_are_resolved() {
    let broker = Broker::with_partitions(2);
    broker.complete(0, b"{}");
    (1..=3).for_each(|order_id| broker.park(0, order_id));
    broker.park(1, 4);
    let said = dead_letters(&broker.address, "discard --all --order 2 --order 4 --yes").said();
    assert!(said.ends_with("2 discarded\n"), "{said}");
    assert_eq!(open(&broker.address), ["0:0", "0:2"]);
    dead_letters(&broker.address, "discard --all --yes").said();
    assert!(open(&broker.address).is_empty());
    assert_eq!(broker.ends(DEAD_LETTERS), [6, 2], "a resolution for each, in its partition");
    assert_eq!(broker.ends(TOPIC), [1, 0], "nothing is written to the topic of completed orders");
}

#[test]
fn what_is_resolved_already_is_told_and_left() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 1);
    broker.park(0, 2);
    dead_letters(&broker.address, "discard 0:0 --yes").said();
    let said = dead_letters(&broker.address, "discard 0:0 0:1 --yes").said();
    assert!(said.starts_with("0:0 was discarded at 20"), "{said}");
    assert!(said.ends_with("1 discarded\n"), "{said}");
    assert_eq!(
        dead_letters(&broker.address, "discard --all --yes").said(),
        "no open dead letter is meant by that\n"
    );
    assert_eq!(broker.ends(DEAD_LETTERS), [4]);
}

#[test]
fn one_wrong_name_and_nothing_is_done() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 1);
    let ended = dead_letters(&broker.address, "discard 0:0 0:7 --yes").ended;
    assert!(matches!(ended, Err(DeadLettersError::Unknown { .. })), "{ended:?}");
    assert_eq!(open(&broker.address), ["0:0"]);
}

#[test]
fn a_write_that_is_refused_is_told_and_nothing_counts_as_discarded() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 1);
    broker.refuse_writes();
    let answer = dead_letters(&broker.address, "discard --all --yes --kafka-timeout 5s");
    assert!(answer.said.ends_with("0 discarded\n"), "{answer:?}");
    let refused = answer.ended.unwrap_err();
    assert!(matches!(refused, DeadLettersError::NotResolved { failed: 1, all: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("have Write granted"), "{refused}");
    assert_eq!(open(&broker.address), ["0:0"]);
}
