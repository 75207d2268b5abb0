//! `positions show` and `positions set`.
//!
//! The mock cluster answers no question for a group's members, which the command must say. It knows no records' times
//! either: for it every time is after the last record. And it refuses a commit from outside for a group that ever had a
//! member, not only while it has one, so here positions are set before anybody joins. What a real Kafka does is
//! seen by the system tests (`real_kafka`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use data_platform_consumer::operator::positions::{GroupPositions, PositionsError, Selection, Target, plan};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::broker::{Broker, TOPIC};
use crate::command::{Ended, run, run_at};
use crate::member::{self, Member};
use crate::platform::{Platform, first_seen};

/// Ten orders in each of four partitions: read to 4, not at all, from 1000, and from the end.
fn four_partitions() -> Broker {
    let broker = Broker::with_partitions(4);
    for partition in 0..4 {
        broker.orders(partition, (0..10).map(|order| i64::from(partition) * 100 + order));
    }
    broker.commit(0, 4);
    broker.commit(2, 1000);
    broker.commit(3, 10);
    broker
}

fn committed(broker: &Broker) -> [Option<i64>; 4] {
    [0, 1, 2, 3].map(|partition| broker.committed(partition))
}

/// What stands beside a committed position.
fn committed_with(broker: &Broker, partition: i32) -> String {
    let mut list = TopicPartitionList::new();
    list.add_partition(TOPIC, partition);
    let answer = broker.bystander().committed_offsets(list, Duration::from_secs(30)).unwrap();
    answer.find_partition(TOPIC, partition).unwrap().metadata().to_owned()
}

const AT_FIRST: [Option<i64>; 4] = [Some(4), None, Some(1000), Some(10)];

fn set(broker: &Broker, arguments: &[&str]) -> Ended {
    run(broker, &[&["positions", "set"], arguments].concat())
}

/// The columns of one partition's line.
fn line(ended: &Ended, partition: i32) -> Vec<&str> {
    let number = partition.to_string();
    let lines = ended.told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.into_iter().find(|words| words.first() == Some(&number.as_str())).expect("a line")
}

#[test]
fn show_tells_where_each_partition_is_read_on_and_what_is_lost() {
    let broker = four_partitions();
    let shown = run(&broker, &["positions", "show"]);
    assert_eq!(shown.code, 1, "a position is not on the broker: {shown:?}");
    assert!(shown.complaint.contains("partitions {2}"), "{shown:?}");
    assert!(shown.complaint.contains("positions set --lost --to earliest"), "{shown:?}");
    assert_eq!(line(&shown, 0)[..], ["0", "4", "0", "10", "6"]);
    assert_eq!(line(&shown, 1)[..6], ["1", "none", "0", "10", "10", "none:"]);
    assert_eq!(line(&shown, 2)[..5], ["2", "1000", "0", "10", "0"]);
    let beyond = "beyond the end: offset 1000 is to be read next, but the broker has 0 to 10";
    assert!(shown.told.contains(beyond), "{shown:?}");
    assert_eq!(line(&shown, 3)[..], ["3", "10", "0", "10", "0"]);
    assert!(shown.told.contains("whether it has members now is not known"), "{shown:?}");
}

#[test]
fn show_as_json_is_for_a_program() {
    let broker = four_partitions();
    broker.commit(2, 10);
    let shown = run(&broker, &["positions", "show", "--json"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let look: serde_json::Value = serde_json::from_str(&shown.told).unwrap();
    assert_eq!(
        (&look["group"], &look["topic"]),
        (&"data-platform-consumer".into(), &"order-completed".into())
    );
    let expected = serde_json::json!([
        {"partition": 0, "position": 4, "oldest": 0, "end": 10, "lag": 6, "finding": "readable"},
        {"partition": 1, "position": null, "oldest": 0, "end": 10, "lag": 10, "finding": "none"},
        {"partition": 2, "position": 10, "oldest": 0, "end": 10, "lag": 0, "finding": "readable"},
        {"partition": 3, "position": 10, "oldest": 0, "end": 10, "lag": 0, "finding": "readable"},
    ]);
    assert_eq!(look["positions"], expected);
    assert!(look["members"]["unclear"].is_string(), "{look}");
}

/// It is for `dead-letters resume` to say that a partition may go on.
#[test]
fn a_partition_at_the_ceiling_of_dead_letters_stays_there() {
    const MARK: &str = "dead-letter-ceiling-reached-at=7";
    let broker = four_partitions();
    broker.commit_with(0, 4, MARK);
    let told = set(&broker, &["--to", "earliest", "--all-partitions", "--yes"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!((broker.committed(0), committed_with(&broker, 0).as_str()), (Some(0), MARK));
    assert_eq!((broker.committed(2), committed_with(&broker, 2).as_str()), (Some(0), ""));
}

#[test]
fn without_yes_nothing_is_changed_and_what_would_be_is_told() {
    let broker = four_partitions();
    let told = set(&broker, &["--to", "latest", "--all-partitions"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.told.contains("SKIPS 6 records that the group has not committed (4 to 9)"), "{told:?}");
    assert!(told.told.contains("SKIPS 10 records that the group has not committed (0 to 9)"), "{told:?}");
    assert!(told.told.contains("3 positions change: 26 records are SKIPPED"), "{told:?}");
    assert!(told.told.contains("nothing was changed: say --yes"), "{told:?}");
    assert_eq!(committed(&broker), AT_FIRST);
}

#[test]
fn a_position_is_set_to_each_kind_of_target() {
    let broker = four_partitions();
    for (target, partition, told, now) in [
        ("earliest", "0", "repeats 4 records", [Some(0), None, Some(1000), Some(10)]),
        ("7", "0,1", "SKIPS 7 records", [Some(7), Some(7), Some(1000), Some(10)]),
        ("latest", "2", "SKIPS 10 records, and it is not known", [Some(7), Some(7), Some(10), Some(10)]),
        (
            "2100-01-01T00:00:00Z",
            "1",
            "no record is of that time or later",
            [Some(7), Some(10), Some(10), Some(10)],
        ),
    ] {
        let done = set(&broker, &["--to", target, "--partition", partition, "--yes"]);
        assert_eq!(done.code, 0, "{target}: {done:?}");
        assert!(done.told.contains(told) && done.told.contains("read back from Kafka"), "{target}: {done:?}");
        assert_eq!(committed(&broker), now, "{target}");
    }
}

#[test]
fn only_lost_positions_are_set_by_lost_and_a_member_reads_on_there() {
    let (broker, platform) = (four_partitions(), Platform::taking_everything());
    broker.commit(0, 8);
    let done = set(&broker, &["--to", "6", "--lost", "--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(committed(&broker), [Some(8), None, Some(6), Some(10)]);

    let member = Member::join("only", &broker, &platform, &[]);
    let taken = platform.await_taken("all that is due", |taken| taken.len() >= 16);
    let mut seen = first_seen(&taken);
    seen.sort_unstable();
    assert_eq!(seen, [8, 9].into_iter().chain(100..110).chain(206..210).collect::<Vec<_>>());
    (0..4).for_each(|partition| broker.await_committed(partition, 10));
    assert_eq!(member.alarms.active(), vec![]);
    member.stop();

    let again = set(&broker, &["--to", "earliest", "--lost", "--yes"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.told.contains("nothing to set: every position is on the broker"), "{again:?}");
}

#[test]
fn positions_of_a_group_that_has_members_are_left_alone_with_what_to_do() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    broker.orders(0, 0..3);
    let member = Member::join("only", &broker, &platform, &[]);
    broker.await_committed(0, 3);
    let refused = set(&broker, &["--to", "earliest", "--all-partitions", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let advice = "stop the consumers of group data-platform-consumer first: Kafka takes positions from outside only while";
    assert!(refused.complaint.contains(advice), "{refused:?}");
    assert_eq!(broker.committed(0), Some(3));
    broker.order(0, 3);
    broker.await_committed(0, 4);
    member.stop();
}

#[test]
fn what_cannot_be_set_is_refused_and_nothing_is_changed() {
    let broker = four_partitions();
    for (arguments, code, why) in [
        (
            &["--to", "11", "--all-partitions"][..],
            1,
            "offset 11 is not on the broker: order-completed[0] has 0 to 10",
        ),
        (&["--to", "earliest", "--partition", "4"], 1, "order-completed has no partition 4: it has 0 to 3"),
        (&["--to", "yesterday", "--all-partitions"], 2, "2026-11-29T08:00Z"),
        (&["--to", "earliest"], 2, "--all-partitions"),
        (&["--to", "earliest", "--lost", "--partition", "1"], 2, "cannot be used with"),
        (&["--to", "earliest", "--lost", "--kafka-timeout", "0s"], 2, "from 100ms to 1h"),
    ] {
        let refused = set(&broker, &[arguments, &["--yes"]].concat());
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.complaint.contains(why), "{refused:?}");
    }
    assert_eq!(committed(&broker), AT_FIRST);
}

#[test]
fn a_commit_that_kafka_refuses_is_a_failure_with_its_words() {
    let broker = four_partitions();
    for (error, why) in [
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
            "grant this service's user DESCRIBE and READ on the group",
        ),
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE,
            "not all of it: Kafka answers: OffsetMetadataTooLarge",
        ),
    ] {
        broker.cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[error]);
        let refused = set(&broker, &["--to", "earliest", "--all-partitions", "--yes"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.complaint.contains(why), "{refused:?}");
        assert_eq!(committed(&broker), AT_FIRST);
    }
}

#[test]
fn a_topic_that_is_missing_or_may_not_be_read_is_told_at_once() {
    let broker = Broker::without_the_topic();
    let missing = run(&broker, &["positions", "show"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.complaint.contains("order-completed does not exist: create it"), "{missing:?}");

    let broker = four_partitions();
    let forbidden = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.cluster.topic_error(TOPIC, forbidden).unwrap();
    let refused = run(&broker, &["positions", "show"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.complaint.contains("DESCRIBE and READ on the topic order-completed"), "{refused:?}");
}

#[test]
fn a_kafka_or_a_coordinator_that_does_not_answer_is_given_up_in_time() {
    let nobody = run_at("127.0.0.1:1", &["positions", "show", "--kafka-timeout", "500ms"]);
    assert_eq!(nobody.code, 1, "{nobody:?}");
    let words = ["no answer from Kafka at 127.0.0.1:1 within 500ms (--kafka-timeout)", "Connection refused"];
    assert!(words.iter().all(|words| nobody.complaint.contains(words)), "{nobody:?}");

    let broker = four_partitions();
    let away = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 1000];
    broker.cluster.request_errors(RDKafkaApiKey::FindCoordinator, &away);
    let silent = run(&broker, &["positions", "show", "--kafka-timeout", "1s"]);
    assert_eq!(silent.code, 1, "{silent:?}");
    let what = "the positions of group data-platform-consumer: no answer from Kafka";
    assert!(silent.complaint.contains(what), "{silent:?}");
}

#[test]
fn a_coordinator_that_is_being_moved_is_waited_for() {
    let broker = Broker::with_partitions(1);
    broker.orders(0, 0..3);
    broker.commit(0, 2);
    let moving = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
    ];
    broker.cluster.request_errors(RDKafkaApiKey::OffsetFetch, &moving);
    let shown = run(&broker, &["positions", "show"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(line(&shown, 0)[..], ["0", "2", "0", "3", "1"]);
}

#[test]
fn a_group_that_may_not_be_asked_is_told_with_the_rights_that_are_missing() {
    let broker = four_partitions();
    let refused = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 1000];
    broker.cluster.request_errors(RDKafkaApiKey::OffsetFetch, &refused);
    let refused = run(&broker, &["positions", "show"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let rights = "DESCRIBE and READ on the group data-platform-consumer";
    assert!(refused.complaint.contains(rights), "{refused:?}");
}

#[test]
fn a_commit_without_an_answer_is_given_up_in_time_and_what_became_of_it_is_not_guessed() {
    let broker = four_partitions();
    let limit = Duration::from_secs(2);
    let group_positions = GroupPositions::connect(&member::settings(&broker, &[]).kafka, limit).unwrap();
    let look = group_positions.look().unwrap();
    let changes = plan(&look, &Selection::All, Target::Earliest, &BTreeMap::new()).unwrap();
    broker.all_down();
    let begun = Instant::now();
    let unanswered = group_positions.set(&changes).unwrap_err();
    assert!(matches!(unanswered, PositionsError::Unanswered { .. }), "{unanswered}");
    drop(group_positions);
    assert!(begun.elapsed() < limit * 5, "{:?}", begun.elapsed());
}
