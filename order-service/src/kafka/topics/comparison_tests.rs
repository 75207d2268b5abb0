//! More is never a fault, less always is, and what cures it can be pasted.

use super::{Found, Less, Wanted};
use crate::settings::Retention;
use std::collections::BTreeMap;

const DAY: i64 = 24 * 60 * 60 * 1000;

fn wanted() -> Wanted {
    Wanted {
        topic: "order-completed".to_owned(),
        partitions: 2,
        least_partitions: 2,
        retention_setting: "topics.retention",
        retention: Retention::of_milliseconds(7 * DAY),
        replication_factor: 3,
        min_insync_replicas: 2,
        is_keyed: true,
    }
}

/// As Kafka tells of a topic that was created as it is wanted.
fn found() -> Found {
    let properties = wanted().properties().into_iter().map(|(name, value)| (name.to_owned(), value));
    Found {
        brokers: vec![1, 2, 3],
        replicas: BTreeMap::from([(0, vec![1, 2, 3]), (1, vec![2, 3, 1])]),
        properties: properties.collect(),
    }
}

fn compared(found: &Found) -> Vec<Less> {
    wanted().compare(found, "kafka-1:9092")
}

fn the_one(found: &Found) -> Less {
    let mut less = compared(found);
    assert_eq!(less.len(), 1, "{less:?}");
    less.remove(0)
}

fn with(property: &str, value: &str) -> Found {
    let mut found = found();
    found.properties.insert(property.to_owned(), value.to_owned());
    found
}

#[test]
fn what_was_created_as_wanted_is_not_less() {
    assert_eq!(compared(&found()), []);
}

#[test]
fn more_is_never_a_fault() {
    let mut more = with("min.insync.replicas", "3");
    more.replicas.insert(2, vec![3, 1, 2, 4]);
    more.properties.insert("retention.ms".to_owned(), "-1".to_owned());
    assert_eq!(compared(&more), []);
}

#[test]
fn one_thin_partition_among_good_ones_is_found_and_the_command_keeps_the_replicas_that_are_there() {
    let mut thin = found();
    thin.replicas.insert(1, vec![2, 3]);
    let less = the_one(&thin);
    assert!(less.finding.contains("replication factor 2 on 1 of 2 partitions, 3 wanted"), "{less:?}");
    let json = r#"{"version":1,"partitions":[{"topic":"order-completed","partition":1,"replicas":[2,3,1]}]}"#;
    assert!(less.cure.contains(json), "{less:?}");
    assert!(less.cure.contains("kafka-reassign-partitions.sh --bootstrap-server kafka-1:9092"), "{less:?}");
}

#[test]
fn replicas_that_no_broker_could_hold_are_not_a_command_but_a_word_about_brokers() {
    let alone = Found {
        brokers: vec![1],
        replicas: BTreeMap::from([(0, vec![1]), (1, vec![1])]),
        properties: with("min.insync.replicas", "1").properties,
    };
    let less = compared(&alone);
    assert_eq!(less.len(), 2, "{less:?}");
    assert!(less[0].cure.contains("the cluster has 1 broker(s): start the others"), "{less:?}");
    assert!(less[0].cure.contains("topics.replication_factor=1"), "{less:?}");
    assert!(less[1].finding.contains("min.insync.replicas=1, 2 wanted"), "{less:?}");
}

#[test]
fn a_minimum_that_the_replicas_can_never_reach_is_told_though_it_is_not_less() {
    let mut stuck = found();
    for replicas in stuck.replicas.values_mut() {
        replicas.truncate(1);
    }
    let less = compared(&stuck);
    assert!(less.iter().any(|less| less.finding.contains("nothing can ever be acknowledged")), "{less:?}");
}

#[test]
fn each_property_that_is_less_has_the_command_that_cures_it() {
    for (property, value, cured, endangers) in [
        ("min.insync.replicas", "1", "min.insync.replicas=2", true),
        ("unclean.leader.election.enable", "true", "unclean.leader.election.enable=false", true),
        ("retention.ms", "86400000", "retention.ms=604800000", false),
        ("retention.bytes", "1000000", "retention.bytes=-1", false),
        ("cleanup.policy", "compact,delete", "cleanup.policy=delete", false),
    ] {
        let less = the_one(&with(property, value));
        assert!(less.finding.contains(value), "{less:?}");
        let command = format!(
            "kafka-configs.sh --bootstrap-server kafka-1:9092 --alter --entity-type topics --entity-name \
             order-completed --add-config {cured}"
        );
        assert!(less.cure.contains(&command), "{less:?}");
        let dangers = wanted().dangers(&with(property, value), "kafka-1:9092");
        assert_eq!(!dangers.is_empty(), endangers, "{dangers:?}");
    }
}

#[test]
fn a_shorter_retention_is_told_in_words_too() {
    let less = the_one(&with("retention.ms", "86400000"));
    assert!(less.finding.contains("(1day), 604800000 (7days) wanted"), "{less:?}");
    assert!(less.cure.contains("set topics.retention=\"1day\""), "{less:?}");
    let unlimited = Wanted { retention: Retention::Unlimited, ..wanted() };
    assert_eq!(unlimited.compare(&found(), "kafka-1:9092").len(), 1);
}

#[test]
fn fewer_partitions_of_keyed_events_are_better_taken_than_added() {
    let mut few = found();
    few.replicas.remove(&1);
    let less = the_one(&few);
    assert!(less.cure.starts_with("set topics.partitions=1;"), "{less:?}");
    assert!(less.cure.contains("--alter --topic order-completed --partitions 2"), "{less:?}");
    let unkeyed = Wanted { is_keyed: false, ..wanted() }.compare(&few, "kafka-1:9092").remove(0);
    assert!(unkeyed.cure.starts_with("kafka-topics.sh"), "{unkeyed:?}");
}

#[test]
fn a_property_that_kafka_does_not_tell_is_not_taken_for_good() {
    let mut silent = found();
    silent.properties.clear();
    let less = compared(&silent);
    assert_eq!(less.len(), 2, "{less:?}");
    assert!(less[0].finding.contains("min.insync.replicas is unknown"), "{less:?}");
}

#[test]
fn a_topic_whose_properties_could_not_be_read_is_in_danger_by_its_replicas_only() {
    let mut silent = found();
    silent.properties.clear();
    assert_eq!(wanted().dangers(&silent, "kafka-1:9092"), []);
    silent.replicas.insert(0, vec![1]);
    assert_eq!(wanted().dangers(&silent, "kafka-1:9092").len(), 1);
}
