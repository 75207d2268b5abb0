//! P13, P14: brokers that refuse, restart one after the other, or make the producer fail for good.

use crate::cases;
use crate::relaying::{
    PARTITIONS, RunningRelay, TOPIC, broker, commit, commit_many, distinct, message, records_until,
    relay_settings, until_outbox_has,
};
use crate::rig::Rig;
use engines::kafka::{FencedProxy, MockBroker};
use order_service::outbox::wake_up::WakeUp;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::sync::Arc;

cases!(
    too_few_replicas_in_sync_lose_nothing_and_keep_the_order,
    a_rolling_restart_of_the_brokers_loses_nothing_and_keeps_the_order,
    a_producer_that_failed_for_good_is_replaced_and_its_rows_are_sent_again,
    what_does_not_fit_into_the_producers_queue_waits_and_arrives_once_and_in_order,
    a_producer_that_has_forgotten_all_brokers_is_replaced,
);

/// Enough that one of them is met, were nothing done about it.
const ROUNDS_OF_FENCING: usize = 12;
const PENDING: &str = "SELECT count(*) FROM outbox";

async fn too_few_replicas_in_sync_lose_nothing_and_keep_the_order(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let before = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 4];
    let after = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND; 4];
    broker.cluster().request_errors(RDKafkaApiKey::Produce, &[before, after].concat());
    commit_many(&shop, 100, 5).await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    records_until(&broker, |records| distinct(records) == 100);
    until_outbox_has(&shop, 0).await;

    // For longer than the relay lives: its client will not cure it by another attempt.
    broker.cluster().request_errors(RDKafkaApiKey::Produce, &before.repeat(1000));
    let rows = (100..140).map(|n| message(&format!("key {}", n % 5), n)).collect();
    commit(&shop, rows, WakeUp::default()).await;
    relay.until_looked().await;
    assert_eq!(shop.number(PENDING).await, 40, "nothing was acknowledged");
    assert!(relay.metrics.in_flight() > 0, "it has tried");
    relay.die().await;
    broker.cluster().clear_request_errors(RDKafkaApiKey::Produce);
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    until_outbox_has(&shop, 0).await;
    shop.balanced(&records_until(&broker, |records| distinct(records) == 140)).await;
    relay.stop().await;
}

/// Each of them dies with all partitions, which have another leader a while later; beside the second one the relay dies, too.
async fn a_rolling_restart_of_the_brokers_loses_nothing_and_keeps_the_order(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let start = || RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    let lead = |id| {
        for partition in 0..PARTITIONS {
            broker.cluster().partition_leader(TOPIC, partition, Some(id)).unwrap();
        }
    };
    let mut committed = 0;
    let rows = |committed: usize| {
        (committed..committed + 40).map(|n| message(&format!("key {}", n % 5), n)).collect::<Vec<_>>()
    };
    let mut relay = start();
    for id in 1..=3 {
        lead(id);
        commit(&shop, rows(committed), WakeUp::default()).await;
        committed += 40;
        until_outbox_has(&shop, 0).await;
        broker.cluster().broker_down(id).unwrap();
        commit(&shop, rows(committed), WakeUp::default()).await;
        committed += 40;
        relay.until_looked().await;
        assert_eq!(shop.number(PENDING).await, 40, "nothing was acknowledged");
        assert!(relay.metrics.in_flight() > 0, "it has tried");
        if id == 2 {
            relay.die().await;
            relay = start();
        }
        lead(id % 3 + 1);
        until_outbox_has(&shop, 0).await;
        broker.cluster().broker_up(id).unwrap();
    }
    shop.balanced(&records_until(&broker, |records| distinct(records) == committed)).await;
    relay.stop().await;
}

async fn a_producer_that_failed_for_good_is_replaced_and_its_rows_are_sent_again(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    // At the head of what is on its way it says that client and broker disagree, which no retry cures.
    let fatal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; 1];
    broker.cluster().request_errors(RDKafkaApiKey::Produce, &fatal);
    commit_many(&shop, 100, 5).await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    shop.balanced(&records_until(&broker, |records| distinct(records) == 100)).await;
    until_outbox_has(&shop, 0).await;
    assert_eq!(relay.metrics.producers_replaced(), 1);
    relay.stop().await;
}

async fn what_does_not_fit_into_the_producers_queue_waits_and_arrives_once_and_in_order(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let rows = (0..300).map(|n| message(&format!("key {}", n % 150), n)).collect();
    commit(&shop, rows, WakeUp::default()).await;
    let small = [("KAFKA__PROPERTIES__QUEUE__BUFFERING__MAX__MESSAGES", "10")];
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &small), WakeUp::default());
    until_outbox_has(&shop, 0).await;
    let records = records_until(&broker, |records| records.len() >= 300);
    shop.balanced(&records).await;
    assert_eq!((records.len(), distinct(&records)), (300, 300), "once each");
    relay.stop().await;
}

/// librdkafka forgets every broker when it is told of a cluster that has none. Mostly it begins again with those of the settings, but
/// about one time in three it has forgotten them, too.
async fn a_producer_that_has_forgotten_all_brokers_is_replaced(rig: Arc<Rig>) {
    let shop = rig.shop_with_book().await;
    let broker = MockBroker::start(1).unwrap();
    broker.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    let proxy = FencedProxy::start(&broker.bootstrap_servers()).await.unwrap();
    let servers = proxy.bootstrap_servers();
    let soon = [
        ("KAFKA__BOOTSTRAP_SERVERS", servers.as_str()),
        ("KAFKA__PROPERTIES__STATISTICS__INTERVAL__MS", "100"),
        ("KAFKA__PROPERTIES__TOPIC__METADATA__REFRESH__INTERVAL__MS", "100"),
    ];
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &soon), WakeUp::default());
    for round in 0..ROUNDS_OF_FENCING {
        let rows = (round * 10..round * 10 + 10).map(|n| message(&format!("key {}", n % 5), n)).collect();
        commit(&shop, rows, WakeUp::default()).await;
        until_outbox_has(&shop, 0).await;
        let emptied = proxy.emptied();
        proxy.fence(true);
        while proxy.emptied() == emptied {
            tokio::task::yield_now().await;
        }
        proxy.fence(false);
    }
    until_outbox_has(&shop, 0).await;
    shop.balanced(&records_until(&broker, |records| distinct(records) == ROUNDS_OF_FENCING * 10)).await;
    relay.stop().await;
}
