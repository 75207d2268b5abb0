//! What an operator is told of Kafka while the service runs, and that orders go on whatever it is.

use crate::cases;
use crate::rig::{Rig, Shop};
use crate::running::Running;
use engines::kafka::{FencedProxy, MockBroker};
use serde_json::{Value, json};
use std::sync::Arc;

cases!(
    kafka_that_goes_away_is_an_alarm_until_it_is_back_and_orders_go_on,
    a_topic_that_does_not_exist_is_an_alarm_that_says_what_to_do_and_its_events_flow_once_it_is_created,
    a_topic_with_fewer_replicas_than_wanted_is_an_alarm_that_can_be_switched_off,
    an_instance_that_does_not_relay_does_not_complain_of_kafka,
    brokers_that_are_all_fenced_for_a_while_are_found_again,
);

const TOPIC: &str = "order-completed";
/// The watch looks often, and librdkafka takes an unknown topic for a missing one after half a second, not thirty.
const SOON: [(&str, &str); 2] =
    [("KAFKA__WATCH_INTERVAL", "300ms"), ("KAFKA__PROPERTIES__TOPIC__METADATA__PROPAGATION__MAX__MS", "500")];

async fn serve(shop: &Shop, servers: &str, more: &[(&'static str, &str)]) -> Running {
    let relaying = [("KAFKA__BOOTSTRAP_SERVERS", servers), ("RELAY__ENABLED", "true")];
    Running::start_with(shop, &[relaying.as_slice(), &SOON, more].concat()).await
}

impl Running {
    async fn health(&self) -> (u16, Value) {
        let url = format!("http://{}/health/ready", self.management);
        let response = self.client.get(url).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Waits for the alarm to be raised or cleared, and answers its detail. The service is ready all the time.
    async fn until_alarm(&self, name: &str, active: bool) -> String {
        loop {
            let (status, health) = self.health().await;
            assert_eq!(status, 200, "{health}");
            let alarms = health["alarms"].as_array().unwrap();
            let alarm = alarms.iter().find(|alarm| alarm["name"] == name);
            if alarm.is_some() == active {
                return alarm.map(|alarm| alarm["detail"].to_string()).unwrap_or_default();
            }
            tokio::task::yield_now().await;
        }
    }

    async fn order(&self) {
        let order = json!({"userId": 1, "items": [{"productId": 1, "quantity": 1}]});
        self.created("/orders", &order).await;
    }
}

async fn until_published(shop: &Shop) {
    while shop.number("SELECT count(*) FROM outbox").await > 0 {
        tokio::task::yield_now().await;
    }
}

async fn kafka_that_goes_away_is_an_alarm_until_it_is_back_and_orders_go_on(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1000, 10)]).await;
    let broker = MockBroker::start(3).unwrap();
    broker.create_topic(TOPIC, 3, 3).unwrap();
    let running = serve(&shop, &broker.bootstrap_servers(), &[]).await;
    running.order().await;
    until_published(&shop).await;

    broker.cluster().broker_down(-1).unwrap();
    let told = running.until_alarm("kafka-unreachable", true).await;
    assert!(told.contains("no broker can be reached at 127.0.0.1:"), "{told}");
    running.order().await;
    broker.cluster().broker_up(-1).unwrap();
    running.until_alarm("kafka-unreachable", false).await;
    until_published(&shop).await;
    running.stop().await;
}

async fn a_topic_that_does_not_exist_is_an_alarm_that_says_what_to_do_and_its_events_flow_once_it_is_created(
    rig: Arc<Rig>,
) {
    let shop = rig.shop().await;
    shop.stock(&[(1000, 10)]).await;
    let broker = MockBroker::start(1).unwrap();
    let one = [("TOPICS__REPLICATION_FACTOR", "1"), ("TOPICS__MIN_INSYNC_REPLICAS", "1")];
    let running = serve(&shop, &broker.bootstrap_servers(), &one).await;
    running.order().await;
    let told = running.until_alarm("topic-missing", true).await;
    assert!(told.contains("run `order-service topics`"), "{told}");
    // The producer has given the event back by now: it is tried again from the table.
    let told = running.until_alarm("publishing-fails", true).await;
    assert!(told.contains("run `order-service topics`"), "{told}");
    running.order().await;
    assert_eq!(shop.number("SELECT count(*) FROM outbox").await, 2);

    broker.create_topic(TOPIC, 3, 1).unwrap();
    running.until_alarm("topic-missing", false).await;
    until_published(&shop).await;
    running.until_alarm("publishing-fails", false).await;
    running.stop().await;
}

async fn a_topic_with_fewer_replicas_than_wanted_is_an_alarm_that_can_be_switched_off(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let broker = MockBroker::start(3).unwrap();
    broker.create_topic(TOPIC, 3, 1).unwrap();
    let running = serve(&shop, &broker.bootstrap_servers(), &[]).await;
    let told = running.until_alarm("topic-below-durability", true).await;
    assert!(told.contains("replication factor 1 on 3 of 3 partitions, 3 wanted"), "{told}");
    running.stop().await;

    // A look that is seen to have come by: brokers that are away are told from the same loop.
    let running = serve(&shop, &broker.bootstrap_servers(), &[("TOPICS__ACCEPT_LESS", "true")]).await;
    broker.cluster().broker_down(-1).unwrap();
    running.until_alarm("kafka-unreachable", true).await;
    broker.cluster().broker_up(-1).unwrap();
    running.until_alarm("kafka-unreachable", false).await;
    broker.cluster().broker_down(-1).unwrap();
    running.until_alarm("kafka-unreachable", true).await;
    running.until_alarm("topic-below-durability", false).await;
    running.stop().await;
}

async fn an_instance_that_does_not_relay_does_not_complain_of_kafka(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let silent = serve(&shop, "127.0.0.1:1", &[("RELAY__ENABLED", "false")]).await;
    // One that was started later and does relay has found out by then.
    let relaying = serve(&shop, "127.0.0.1:1", &[]).await;
    relaying.until_alarm("kafka-unreachable", true).await;
    assert_eq!(silent.health().await.1["alarms"], json!([]));
    relaying.stop().await;
    silent.stop().await;
}

/// librdkafka forgets every broker when it is told of a cluster that has none, and now and then those of the settings, too.
async fn brokers_that_are_all_fenced_for_a_while_are_found_again(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&[(1000, 20)]).await;
    let broker = MockBroker::start(1).unwrap();
    broker.create_topic(TOPIC, 3, 1).unwrap();
    let proxy = FencedProxy::start(&broker.bootstrap_servers()).await.unwrap();
    let soon = [("TOPICS__ACCEPT_LESS", "true"), ("KAFKA__PROPERTIES__STATISTICS__INTERVAL__MS", "100")];
    let running = serve(&shop, &proxy.bootstrap_servers(), &soon).await;
    for _ in 0..12 {
        running.order().await;
        until_published(&shop).await;
        let emptied = proxy.emptied();
        proxy.fence(true);
        while proxy.emptied() < emptied + 2 {
            tokio::task::yield_now().await;
        }
        proxy.fence(false);
    }
    running.order().await;
    until_published(&shop).await;
    // Who watches is heard of only by what he tells.
    broker.cluster().broker_down(-1).unwrap();
    running.until_alarm("kafka-unreachable", true).await;
    broker.cluster().broker_up(-1).unwrap();
    running.until_alarm("kafka-unreachable", false).await;
    running.stop().await;
}
