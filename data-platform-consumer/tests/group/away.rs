//! Kafka that is away, or answers with errors, is waited for.

use std::time::{Duration, Instant};

use data_platform_consumer::health::{KAFKA_UNREACHABLE, TOPIC_FORBIDDEN, TOPIC_MISSING};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::broker::{Broker, TOPIC};
use crate::member::Member;
use crate::platform::Platform;

#[test]
fn a_kafka_that_is_away_is_waited_for_visibly_at_the_start_and_later() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    broker.order(0, 1);
    broker.all_down();
    let member = Member::join("only", &broker, &platform, &[]);
    member.await_alarm(KAFKA_UNREACHABLE);
    assert!(!member.readiness.is_ready());
    broker.all_up();
    platform.await_taken("what was there", |taken| taken.len() == 1);
    member.await_ready();

    broker.all_down();
    member.await_alarm(KAFKA_UNREACHABLE);
    assert!(!member.readiness.is_ready());
    broker.all_up();
    broker.order(0, 2);
    platform.await_taken("what came later", |taken| taken.iter().any(|receipt| receipt.order_id == 2));
    broker.await_committed(0, 2);
    member.await_ready();
    member.stop();
}

#[test]
fn a_topic_that_is_missing_is_an_alarm_and_is_read_soon_after_it_was_created() {
    let (broker, platform) = (Broker::without_the_topic(), Platform::taking_everything());
    let member = Member::join("only", &broker, &platform, &[]);
    let (subject, detail) = member.await_alarm(TOPIC_MISSING);
    assert_eq!(subject, TOPIC);
    assert!(detail.contains("order-service topics") && detail.contains("`kafka.topic`"), "{detail}");
    assert!(!member.readiness.is_ready());

    broker.create_topic(2);
    let created = Instant::now();
    broker.order(0, 1);
    broker.order(1, 2);
    platform.await_taken("what is in the new topic", |taken| taken.len() == 2);
    let time = created.elapsed();
    assert!(
        time < Duration::from_secs(15),
        "{time:?}: it must not take until the next refresh of all metadata"
    );
    member.await_ready();
    assert_eq!(member.alarms.active(), vec![]);
    member.stop();
}

#[test]
fn a_topic_that_vanishes_is_an_alarm_and_is_read_on_when_it_is_there_again() {
    let (broker, platform) = (Broker::with_partitions(2), Platform::taking_everything());
    broker.order(0, 1);
    let member = Member::join("only", &broker, &platform, &[]);
    broker.await_committed(0, 1);
    broker.cluster.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    member.await_alarm(TOPIC_MISSING);
    assert!(!member.readiness.is_ready());

    broker.cluster.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    broker.order(0, 2);
    broker.order(1, 3);
    let taken = platform.await_taken("what came later", |taken| taken.len() >= 3);
    member.await_ready();
    assert_eq!(member.alarms.active(), vec![]);
    member.stop();
    assert_eq!(platform.taken(), taken, "nothing is delivered again");
    assert_eq!(taken.len(), 3);
}

#[test]
fn a_topic_that_may_not_be_read_is_an_alarm_and_is_read_once_it_may_be() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    broker.order(0, 1);
    broker.cluster.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let member = Member::join("only", &broker, &platform, &[]);
    let (_, detail) = member.await_alarm(TOPIC_FORBIDDEN);
    assert!(detail.contains("grant"), "{detail}");
    assert!(!member.readiness.is_ready());

    broker.cluster.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    platform.await_taken("it is read", |taken| taken.len() == 1);
    member.await_ready();
    assert_eq!(member.alarms.active(), vec![]);
    member.stop();
}

#[test]
fn a_broker_whose_name_is_wrong_is_an_alarm_that_says_so() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    let wrong = [("KAFKA__BOOTSTRAP_SERVERS", "no-such-broker.invalid:9092")];
    let member = Member::join("only", &broker, &platform, &wrong);
    member.await_alarm(KAFKA_UNREACHABLE);
    let (_, detail) = member.await_alarm_that(|alarm| alarm.detail.contains("no-such-broker.invalid"));
    assert!(detail.contains("resolve") && detail.contains("`kafka.bootstrap_servers`"), "{detail}");
    member.stop();
}

#[test]
fn a_refused_commit_is_sent_again_and_ends_nothing() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    let member = Member::join("only", &broker, &platform, &[]);
    member.await_ready();
    broker.cluster.request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        ],
    );
    broker.order(0, 1);
    broker.await_committed(0, 1);
    broker.order(0, 2);
    broker.await_committed(0, 2);
    member.stop();
    assert!(platform.taken().len() >= 2);
}

#[test]
fn a_coordinator_that_moves_costs_neither_the_membership_nor_a_commit() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    broker.coordinate_at(1);
    let member = Member::join("only", &broker, &platform, &[]);
    member.await_ready();
    for (order, coordinator) in [(1, 2), (2, 3), (3, 1)] {
        broker.order(0, order);
        broker.await_committed(0, order);
        broker.coordinate_at(coordinator);
    }
    broker.order(0, 4);
    broker.await_committed(0, 4);
    member.await_ready();
    member.stop();
    assert_eq!(platform.taken().len(), 4, "nothing is repeated");
}

#[test]
fn reading_starts_only_when_the_committed_positions_are_known() {
    let (broker, platform) = (Broker::with_partitions(2), Platform::taking_everything());
    for order in 1..=3 {
        broker.order(0, order);
        broker.order(1, 10 + order);
    }
    broker.commit(0, 2);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 4];
    broker.cluster.request_errors(RDKafkaApiKey::OffsetFetch, &refused);
    let member = Member::join("only", &broker, &platform, &[("KAFKA__POSITION_TIMEOUT", "200ms")]);
    let taken = platform.await_taken("all that was not delivered", |taken| taken.len() >= 4);
    let mut orders: Vec<i64> = taken.iter().map(|receipt| receipt.order_id).collect();
    orders.sort_unstable();
    assert_eq!(orders, [3, 11, 12, 13]);
    broker.await_committed(0, 3);
    broker.await_committed(1, 3);
    member.stop();
}

#[test]
fn a_stop_ends_while_kafka_is_away() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    broker.order(0, 1);
    let member = Member::join("only", &broker, &platform, &[("KAFKA__COMMIT_INTERVAL", "1h")]);
    platform.await_taken("one", |taken| taken.len() == 1);
    broker.all_down();
    member.await_alarm(KAFKA_UNREACHABLE);
    member.stop();
}
