//! A position that is gone stops its partition and no other.

use data_platform_consumer::health::POSITION_LOST;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::broker::Broker;
use crate::member::Member;
use crate::platform::{Platform, first_seen};

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
