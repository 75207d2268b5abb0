//! What cannot be understood, or is gone, stops its partition and no other.

use data_platform_consumer::health::{POSITION_LOST, RECORD_UNDECODABLE};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::broker::Broker;
use crate::member::Member;
use crate::platform::{Platform, first_seen};

fn stops_only_its_partition(bad_value: &[u8], bad_type: &str, cause: &str) {
    let (broker, platform) = (Broker::with_partitions(2), Platform::taking_everything());
    broker.order(0, 1);
    broker.record(0, "2", bad_value, bad_type);
    broker.order(0, 3);
    broker.order(1, 4);
    let member = Member::join("only", &broker, &platform, &[]);
    let (subject, detail) = member.await_alarm(RECORD_UNDECODABLE);
    assert_eq!(subject, "order-completed[0]");
    assert!(detail.contains("offset 1") && detail.contains(cause), "{detail}");

    platform.await_taken("what is good", |taken| taken.len() == 2);
    broker.order(0, 5);
    broker.order(1, 6);
    let taken = platform
        .await_taken("the other partition flows", |taken| taken.iter().any(|receipt| receipt.order_id == 6));
    let mut seen = first_seen(&taken);
    seen.sort_unstable();
    assert_eq!(seen, [1, 4, 6]);
    broker.await_committed(1, 2);
    broker.await_committed(0, 1);
    assert!(member.readiness.is_ready(), "it is an alarm, not an outage");
    member.stop();
    assert_eq!(broker.committed(0), Some(1), "nothing past the record is committed, not even by a stop");
    assert_eq!(platform.taken().len(), 3);
}

#[test]
fn bytes_that_do_not_decode_stop_their_partition() {
    stops_only_its_partition(b"{\"orderId\":", "order-completed.v1", "not an order-completed message");
}

#[test]
fn an_unknown_version_is_parked_and_not_guessed() {
    let value = br#"{"occurredAt":"2025-05-29T01:43:46Z","orderId":2}"#;
    stops_only_its_partition(value, "order-completed.v2", "order-completed.v2");
}

#[test]
fn a_position_that_is_gone_stops_its_partition_and_the_others_flow() {
    let (broker, platform) = (Broker::with_partitions(3), Platform::taking_everything());
    (0..3).for_each(|partition| broker.order(partition, i64::from(partition)));
    broker.commit(0, 1000);
    broker.commit(1, 0);
    let member = Member::join("only", &broker, &platform, &[]);
    let (subject, detail) = member.await_alarm(POSITION_LOST);
    assert_eq!(subject, "order-completed[0]");
    assert!(detail.contains("offset 1000") && detail.contains("0 to 1"), "{detail}");
    assert!(detail.contains("data-platform-consumer positions set --lost"), "{detail}");
    broker.order(1, 11);
    broker.order(2, 12);
    let taken = platform.await_taken("the others", |taken| taken.len() >= 4);
    let mut seen = first_seen(&taken);
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 11, 12]);
    broker.await_committed(1, 2);
    broker.await_committed(2, 2);
    member.stop();
    assert_eq!(broker.committed(0), Some(1000), "what to do about it is an operator's decision");
}

#[test]
fn a_partition_whose_beginning_was_refused_is_read_all_the_same() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    broker.order(0, 1);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED];
    broker.cluster.request_errors(RDKafkaApiKey::ListOffsets, &refused);
    let member = Member::join("only", &broker, &platform, &[]);
    platform.await_taken("it is read once it may be", |taken| taken.len() == 1);
    broker.await_committed(0, 1);
    member.await_ready();
    assert_eq!(member.alarms.active().len(), 0, "nothing was gone");
    member.stop();
}
