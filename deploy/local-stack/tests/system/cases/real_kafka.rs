//! What happens to a real Kafka and its topics while both services run.

use std::collections::BTreeSet;

use crate::heard::{Heard, delivered};
use crate::operator::Operator;
use crate::scene::{Consumer, OrderService, PARTITIONS, Scene};
use crate::topic_reader::TopicReader;

const ON_ONE_BROKER: [(&str, &str); 2] =
    [("TOPICS__REPLICATION_FACTOR", "1"), ("TOPICS__MIN_INSYNC_REPLICAS", "1")];
/// An outage is told soon.
const WATCHING: [(&str, &str); 1] = [("KAFKA__WATCH_INTERVAL", "1s")];
const TOPIC_MISSING: &str = "topic-missing";
const KAFKA_UNREACHABLE: &str = "kafka-unreachable";
const FEW: usize = 12;

/// An order-service and a consumer.
struct Services {
    service: OrderService,
    consumer: Consumer,
    product: i64,
}

impl Services {
    async fn start(scene: &Scene) -> Self {
        let service = scene.order_service(&WATCHING).await;
        let product = service.api.product(10_000).await;
        Self { service, consumer: scene.consumer("consumer", &[]), product }
    }

    async fn buy(&self, orders: usize) -> Vec<i64> {
        self.service.api.buy_often(self.product, orders).await
    }

    /// Both have raised it, or cleared it, once more than so many times before.
    async fn both_tell(&self, alarm: &str, ending: &str, before: usize) {
        tokio::join!(
            tells(&self.service.heard, alarm, ending, before),
            tells(&self.consumer.heard, alarm, ending, before)
        );
    }

    /// Returns once each of these was delivered, once or more often, and no event is left.
    async fn all_arrive(&self, scene: &Scene, what: &str, orders: &[i64]) {
        self.consumer.heard.until(what, |lines| holds(&delivered(lines), orders)).await;
        scene.outbox_is_empty().await;
    }
}

async fn tells(heard: &Heard, alarm: &str, ending: &str, before: usize) {
    let (start, what) = (format!("alarm {alarm}"), format!("alarm {alarm} is {ending}"));
    heard
        .until(&what, |lines| {
            let told = lines.iter().map(|line| &line.message);
            told.filter(|line| line.starts_with(&start) && line.contains(ending)).count() > before
        })
        .await;
}

fn holds(all: &[i64], some: &[i64]) -> bool {
    let all: BTreeSet<&i64> = all.iter().collect();
    some.iter().all(|order| all.contains(order))
}

/// Orders are answered, their events wait, and both services go on by themselves when the topic is there.
pub(crate) async fn topic_comes_later(scene: Scene) {
    let scene = scene.with_a_topic_that_is_missing();
    let services = Services::start(&scene).await;
    let orders = services.buy(FEW).await;
    services.both_tell(TOPIC_MISSING, "raised", 0).await;
    assert_eq!(scene.rows("outbox").await, 12, "every event waits");

    let (status, said) = scene.topics_command(&ON_ONE_BROKER).await;
    assert!(status.success(), "{status}: {said}");
    services.both_tell(TOPIC_MISSING, "cleared", 0).await;
    services.all_arrive(&scene, "the orders from before the topic", &orders).await;
    let later = services.buy(FEW).await;
    services.all_arrive(&scene, "the orders after", &later).await;
}

/// A consumer that stands still meanwhile cannot know of the new partitions before they have records.
pub(crate) async fn partitions_are_added(scene: Scene) {
    let in_all = PARTITIONS * 2;
    let services = Services::start(&scene).await;
    services.consumer.heard.says("owning 6 partitions").await;
    let mut orders = services.buy(FEW).await;

    services.consumer.process.process().freeze();
    Operator::at(&scene.kafka().bootstrap_servers()).add_partitions(&scene.topic, in_all).await;
    // A producer sees at its start which partitions there are.
    assert!(services.service.process.stop().await.success());
    let service = scene.order_service(&[]).await;
    orders.extend(service.api.buy_often(services.product, 60).await);
    scene.outbox_is_empty().await;
    services.consumer.process.process().thaw();
    services.all_arrive(&scene, "the records of all partitions", &orders).await;
    services.consumer.heard.says("now owning 12 partitions").await;

    let records = TopicReader::open(&scene.kafka().bootstrap_servers(), &scene.topic, in_all).next(72);
    let later: BTreeSet<i32> =
        records.iter().map(|record| record.partition).filter(|at| *at >= PARTITIONS).collect();
    assert!(later.len() > 1, "new partitions have records: {later:?}");
}

/// SIGKILL in the middle of the sale, for longer than a consumer's session.
pub(crate) async fn killed_under_load(scene: Scene) {
    let scene = scene.with_own_kafka();
    let services = Services::start(&scene).await;
    services.consumer.heard.says("owning 6 partitions").await;
    // Positions are committed, so that a new member goes on from there and does not begin anew.
    let mut orders = services.buy(FEW).await;
    scene.so_many_are_committed(12).await;
    let (api, product) = (services.service.api.clone(), services.product);
    let buyer = tokio::spawn(async move { api.buy_often(product, 300).await });
    services.consumer.heard.until("the sale goes on", |lines| delivered(lines).len() >= 2 * FEW).await;

    scene.kafka().all_down();
    orders.extend(buyer.await.expect("every order is answered with 201"));
    assert!(scene.rows("outbox").await > 0, "there are events that could not be sent");
    services.both_tell(KAFKA_UNREACHABLE, "raised", 0).await;
    services.consumer.heard.says("lost partitions").await;

    scene.kafka().all_up();
    services.both_tell(KAFKA_UNREACHABLE, "cleared", 0).await;
    services.all_arrive(&scene, "every order of the sale", &orders).await;
    let bought: BTreeSet<i64> = orders.into_iter().collect();
    assert_eq!(services.consumer.heard.delivered().into_iter().collect::<BTreeSet<i64>>(), bought);
    let joined = services.consumer.heard.messages();
    let joined = joined.iter().filter(|line| line.starts_with("joined the group, owning 6 ")).count();
    assert_eq!(joined, 2, "the same process is a member again");
}

/// After a restart the old topic's leaders have a higher epoch than those of the new one, which clients must not take
/// for an outdated answer.
pub(crate) async fn topic_is_created_anew(scene: Scene) {
    let scene = scene.with_own_kafka();
    let operator = Operator::at(&scene.kafka().bootstrap_servers());
    let services = Services::start(&scene).await;
    let orders = services.buy(FEW).await;
    services.all_arrive(&scene, "the orders before", &orders).await;
    scene.kafka().all_down();
    scene.kafka().all_up();
    let orders = services.buy(FEW).await;
    services.all_arrive(&scene, "the orders after the restart", &orders).await;

    operator.delete(&scene.topic).await;
    services.both_tell(TOPIC_MISSING, "raised", 0).await;
    let mut orders = services.buy(FEW).await;
    operator.create(&scene.topic, PARTITIONS, &[]).await;
    orders.extend(services.buy(FEW).await);
    scene.outbox_is_empty().await;
    let reader = scene.reader();
    assert!(reader.records_on_the_broker() >= i64::try_from(orders.len()).expect("a small number"));
    services.all_arrive(&scene, "the orders on the new topic", &orders).await;
    services.both_tell(TOPIC_MISSING, "cleared", 0).await;
}
