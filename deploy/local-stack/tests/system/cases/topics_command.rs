//! `order-service topics` on a real Kafka of one broker.

use std::collections::BTreeMap;

use crate::operator::Operator;
use crate::scene::Scene;

const ON_ONE_BROKER: [(&str, &str); 4] = [
    ("TOPICS__PARTITIONS", "3"),
    ("TOPICS__REPLICATION_FACTOR", "1"),
    ("TOPICS__MIN_INSYNC_REPLICAS", "1"),
    ("TOPICS__RETENTION", "3d"),
];

const HOUR: [(&str, &str); 2] = [("retention.ms", "3600000"), ("min.insync.replicas", "1")];

/// What the settings want is what stands afterwards, on the topic itself; a second run finds it.
pub(crate) async fn creates(scene: Scene) {
    let scene = scene.with_a_topic_that_is_missing();
    let operator = Operator::at(&scene.kafka().bootstrap_servers());
    for told in ["created with 3 partitions of 1 replica(s)", "found with 3 partitions, as wanted or more"] {
        let (status, said) = scene.topics_command(&ON_ONE_BROKER).await;
        assert!(status.success(), "{status}: {said}");
        for (topic, retention) in
            [(scene.topic.clone(), "259200000"), (format!("{}-dlt", scene.topic), "2592000000")]
        {
            assert!(said.contains(&format!("topic {topic} {told}")), "{said}");
            assert_eq!(operator.partitions(&topic), 3);
            let wanted = [
                ("cleanup.policy", "delete"),
                ("min.insync.replicas", "1"),
                ("retention.bytes", "-1"),
                ("retention.ms", retention),
                ("unclean.leader.election.enable", "false"),
            ];
            let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(operator.properties(&topic).await, BTreeMap::from(wanted), "{topic}");
        }
    }
}

/// The last sentence names each difference of each topic, and nothing is changed; who says so goes on with less.
pub(crate) async fn refuses_less(scene: Scene) {
    let scene = scene.with_a_topic_that_is_missing();
    let operator = Operator::at(&scene.kafka().bootstrap_servers());
    let (topic, dead_letters) = (scene.topic.clone(), format!("{}-dlt", scene.topic));
    operator.create(&topic, 1, &HOUR).await;
    operator.create(&dead_letters, 1, &[]).await;

    let wanted = [("TOPICS__PARTITIONS", "3")];
    let (status, said) = scene.topics_command(&wanted).await;
    assert_eq!(status.code(), Some(1), "{said}");
    let sentence = said.lines().last().expect("a sentence");
    for difference in [
        format!("{topic} has replication factor 1 on 1 of 1 partitions, 3 wanted"),
        format!("{topic} has min.insync.replicas=1, 2 wanted"),
        format!("{topic} has 1 partition(s), 3 wanted"),
        format!("{topic} has retention.ms=3600000 (1h), 604800000 (7days) wanted"),
        format!("{dead_letters} has replication factor 1 on 1 of 1 partitions, 3 wanted"),
        format!("{dead_letters} has min.insync.replicas=1, 2 wanted"),
        format!("{dead_letters} has retention.ms=604800000 (7days), 2592000000 (30days) wanted"),
    ] {
        assert!(sentence.contains(&difference), "not told: {difference}\nbut: {sentence}");
    }

    let (status, said) =
        scene.topics_command(&[("TOPICS__PARTITIONS", "3"), ("TOPICS__ACCEPT_LESS", "true")]).await;
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains(&format!("topic {topic} is taken with less: 1 partition(s), 3 wanted")), "{said}");
    assert_eq!(operator.partitions(&topic), 1);
    assert_eq!(operator.properties(&topic).await["retention.ms"], "3600000");
}

/// As many replicas as there will never be brokers: waited for as long as is set, then told.
pub(crate) async fn lacks_brokers(scene: Scene) {
    let scene = scene.with_a_topic_that_is_missing();
    let (status, said) = scene.topics_command(&[("TOPICS__WAIT_TIMEOUT", "5s")]).await;
    assert_eq!(status.code(), Some(1), "{said}");
    let sentence = said.lines().last().expect("a sentence");
    assert!(
        sentence.contains("gave up on Kafka at ") && sentence.contains("(topics.wait_timeout)"),
        "{said}"
    );
    assert!(sentence.contains("3 replicas wanted, the cluster has 1 broker(s)"), "{said}");
    let operator = Operator::at(&scene.kafka().bootstrap_servers());
    assert_eq!(operator.partitions(&scene.topic), 0);
}
