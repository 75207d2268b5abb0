//! `data-platform-consumer positions` on a real Kafka, which knows its records' times and its groups' members, and loses
//! records to retention.

use std::collections::BTreeSet;
use std::process::ExitStatus;

use chrono::{SecondsFormat, Utc};

use crate::heard::delivered;
use crate::operator::Operator;
use crate::scene::{PARTITIONS, Scene};
use crate::topic_reader::TopicReader;

const BEFORE: usize = 12;
const AFTER: usize = 60;
/// What retention leaves of each partition.
const KEPT: i64 = 2;

/// A running group is left alone. Once it is stopped, a position that retention took is set, and a new member reads on
/// there.
pub(crate) async fn lost_and_set(scene: Scene) {
    let operator = Operator::at(&scene.kafka().bootstrap_servers());
    let service = scene.order_service(&[]).await;
    let product = service.api.product(1_000).await;
    let consumer = scene.consumer("first", &[]);
    consumer.heard.says("owning 6 partitions").await;
    service.api.buy_often(product, BEFORE).await;
    scene.so_many_are_committed(12).await;
    assert!(consumer.process.stop().await.success());
    let between = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    service.api.buy_often(product, AFTER).await;
    scene.outbox_is_empty().await;
    the_time_between_is_where_the_group_stopped(&scene, &between).await;

    let left = operator.remove_all_but(&scene.topic, PARTITIONS, KEPT).await;
    let left_in_all = usize::try_from(left).expect("a small number");
    let records = TopicReader::open(&scene.kafka().bootstrap_servers(), &scene.topic, PARTITIONS);
    let due: BTreeSet<i64> =
        records.next(left_in_all).iter().map(|record| record.key.parse().expect("a number")).collect();

    let stopped = scene.consumer("stopped", &[]);
    stopped.heard.says("alarm position-lost").await;
    let (status, said) = scene.positions_command(&["show"]).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("lost: offset") && said.contains("1 members now: data-platform-consumer at "),
        "{said}"
    );
    let lost_to_earliest = ["set", "--lost", "--to", "earliest", "--yes"];
    let (status, said) = scene.positions_command(&lost_to_earliest).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("stop the consumers of group group-of-"), "{said}");

    assert!(stopped.process.stop().await.success());
    let said = succeeds(scene.positions_command(&lost_to_earliest[..4]).await);
    assert!(said.contains("no members now") && said.contains("nothing was changed: say --yes"), "{said}");
    assert!(said.contains("records that the group had not committed are gone from the broker"), "{said}");
    let said = succeeds(scene.positions_command(&lost_to_earliest).await);
    assert!(said.contains("set, and read back from Kafka"), "{said}");
    succeeds(scene.positions_command(&["show"]).await);

    let successor = scene.consumer("successor", &[]);
    let all = |of: &BTreeSet<i64>| of == &due;
    successor
        .heard
        .until("what is left is delivered", |lines| all(&delivered(lines).into_iter().collect()))
        .await;
    assert!(
        successor.heard.messages().iter().all(|line| !line.contains("alarm ")),
        "nothing is lost any more"
    );
}

/// All before it was delivered and nothing after it, so this time is where the group is already.
async fn the_time_between_is_where_the_group_stopped(scene: &Scene, between: &str) {
    let said = succeeds(scene.positions_command(&["set", "--all-partitions", "--to", between]).await);
    assert!(said.contains("0 records are SKIPPED, 0 are read again"), "{said}");
    assert!(!said.contains("this is the end"), "every partition has later records: {said}");
    let latest = ["set", "--all-partitions", "--to", "2100-01-01T00:00:00Z"];
    let said = succeeds(scene.positions_command(&latest).await);
    assert!(said.contains("60 records are SKIPPED") && said.contains("this is the end"), "{said}");
    let first = ["set", "--all-partitions", "--to", "2020-01-01T00:00:00Z"];
    let said = succeeds(scene.positions_command(&first).await);
    assert!(said.contains("0 records are SKIPPED, 12 are read again"), "{said}");
}

fn succeeds((status, said): (ExitStatus, String)) -> String {
    assert!(status.success(), "{status}: {said}");
    said
}
