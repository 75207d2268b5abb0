//! `dead-letters list` and `show`: what is in the topic is told as it is, and nothing is changed by looking.

use std::time::{Duration, Instant};

use data_platform_consumer::operator::dead_letters::DeadLettersError;
use serde_json::json;
use shared_messages::dead_letter::{DeadLetter, DeadLetterCause};

use crate::broker::{Broker, DEAD_LETTERS, letter};
use crate::commands::{dead_letters, open};

#[test]
fn what_is_resolved_is_listed_only_if_it_is_asked_for() {
    let broker = Broker::with_partitions(2);
    broker.park(0, 1);
    broker.park(0, 2);
    broker.park(1, 3);
    dead_letters(&broker.address, "discard 0:0 --yes").said();
    let listed = dead_letters(&broker.address, "list").said();
    assert_eq!(open(&broker.address), ["0:1", "1:0"]);
    assert!(listed.ends_with("2 open, 1 resolved in order-completed-dlt\n"), "{listed}");
    assert!(listed.contains("order-completed[0]@2"), "{listed}");
    assert!(!listed.lines().any(|line| line.starts_with("0:0 ")), "{listed}");
    let all = dead_letters(&broker.address, "list --all").said();
    let resolved = all.lines().find(|line| line.starts_with("0:0 ")).unwrap();
    assert!(resolved.contains("discarded 20"), "{all}");
    let listing = dead_letters(&broker.address, "list --all --json").json();
    assert_eq!((&listing["open"], &listing["resolved"]), (&json!(2), &json!(1)));
    assert_eq!(listing["deadLetters"][0]["resolution"]["outcome"], "discarded");
    assert_eq!(listing["deadLetters"][1]["resolution"], json!(null));
}

#[test]
fn a_dead_letter_is_told_with_all_that_an_operator_needs() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 15);
    let listing = dead_letters(&broker.address, "list --json").json();
    assert_eq!(
        listing["deadLetters"],
        json!([{
            "id": "0:0",
            "partition": 0,
            "offset": 0,
            "parkedAt": "2025-05-29T02:00:00.000000Z",
            "original": {
                "topic": "order-completed",
                "partition": 0,
                "offset": 15,
                "timestamp": "2025-05-29T01:43:46.137000Z"
            },
            "consumerGroup": "data-platform-consumer",
            "cause": "rejected",
            "exception": "dead_letter.Rejected",
            "message": "422: nobody knows order 15",
            "attempts": 1,
            "failingSince": null,
            "key": "15",
            "orderId": 15,
            "eventId": null,
            "undecodable": null,
            "resolution": null
        }])
    );
}

#[test]
fn those_of_other_groups_are_counted_and_listed_only_if_they_are_asked_for() {
    let broker = Broker::with_partitions(1);
    broker.park(0, 1);
    let foreign = DeadLetter { consumer_group: "billing".to_owned(), ..letter(0, 2) };
    broker.park_bytes(0, "2", b"{}", &foreign);
    let listed = dead_letters(&broker.address, "list").said();
    assert_eq!(open(&broker.address), ["0:0"]);
    assert!(listed.ends_with("1 more are open of other consumer groups (--any-group)\n"), "{listed}");
    let all = dead_letters(&broker.address, "list --any-group").said();
    assert!(all.ends_with("2 open, 0 resolved in order-completed-dlt\n"), "{all}");
}

#[test]
fn bytes_that_are_no_text_are_shown_and_change_nothing() {
    let broker = Broker::with_partitions(1);
    let undecodable = DeadLetter {
        cause: DeadLetterCause::Undecodable,
        message: "the value is\u{1b}[2J no JSON".to_owned(),
        ..letter(0, 1)
    };
    broker.park_bytes(0, "15", b"\xff\xfe\x00", &undecodable);
    let shown = dead_letters(&broker.address, "show 0:0").said();
    for expected in [
        "state        open",
        "in words     the value is\\u{1b}[2J no JSON",
        "header       kafka_dlt-original-partition: 0",
        "header       kafka_dlt-original-offset: 1",
        "key          15",
        "body         0xfffe00",
        "event        cannot be read: ",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "a terminal obeys nothing of it");
    let whole = dead_letters(&broker.address, "show 0:0 --json").json();
    assert_eq!((&whole["value"], &whole["valueHex"]), (&json!(null), &json!("0xfffe00")));
    assert_eq!(whole["headers"][0], json!({ "name": "ce_type", "value": "order-completed.v1" }));
    assert_eq!(broker.ends::<1>(DEAD_LETTERS), [1]);
}

#[test]
fn an_empty_topic_has_nothing_open() {
    let broker = Broker::with_partitions(3);
    assert_eq!(dead_letters(&broker.address, "list").said(), "0 open, 0 resolved in order-completed-dlt\n");
    let unknown = dead_letters(&broker.address, "show 0:0").ended;
    assert!(matches!(unknown, Err(DeadLettersError::Unknown { .. })), "{unknown:?}");
}

#[test]
fn a_topic_that_is_missing_is_told_with_what_to_do() {
    let broker = Broker::without_topics();
    let missing = dead_letters(&broker.address, "list").ended.unwrap_err();
    assert!(matches!(missing, DeadLettersError::TopicMissing { .. }), "{missing}");
    assert!(missing.to_string().contains("order-service topics"), "{missing}");
}

#[test]
fn a_kafka_that_is_away_is_given_up_after_the_wait() {
    let broker = Broker::with_partitions(1);
    broker.all_down();
    let started = Instant::now();
    let away = dead_letters(&broker.address, "list --kafka-timeout 1s").ended.unwrap_err();
    assert!(matches!(away, DeadLettersError::Silent { .. }), "{away}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
