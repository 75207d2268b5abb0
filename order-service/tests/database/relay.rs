//! The relay publishes every committed message, in the order of each key, and deletes exactly what was
//! acknowledged.

use crate::cases;
use crate::relaying::{
    PARTITIONS, RunningRelay, TOPIC, assert_in_order, broker, commit, commit_many, distinct, each_broker,
    message, records_until, relay_settings, sized, until_alarm, until_outbox_has,
};
use crate::rig::Rig;
use order_service::kafka::topic_partitions::TopicPartitions;
use order_service::outbox::message::OutboxMessage;
use order_service::outbox::relay::IN_FLIGHT_FULL;
use order_service::outbox::wake_up::WakeUp;
use rdkafka::message::{Headers, Message, OwnedMessage};
use shared_messages::topics::partition_of;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

cases!(
    what_is_committed_is_published_in_the_order_of_each_key,
    a_backlog_is_published_once_and_in_the_order_of_each_key,
    the_callback_wakes_the_relay,
    a_row_of_a_lower_seq_that_commits_late_is_published,
    a_broker_that_is_away_loses_nothing_and_keeps_the_order,
    a_row_that_does_not_fit_in_is_not_overtaken_by_its_key,
    a_leaderless_partition_holds_up_only_its_own_keys,
    a_leaderless_partition_with_a_backlog_holds_up_only_its_own_keys,
    what_was_sent_before_the_number_of_partitions_was_known_holds_up_only_its_own_partition,
    what_is_committed_while_the_brokers_hang_arrives_once_and_in_order,
    a_relay_that_loses_its_session_goes_on,
    what_is_sent_when_it_stops_is_acknowledged_and_deleted,
    a_relay_that_died_between_acknowledgement_and_delete_repeats_under_the_same_id,
);

async fn what_is_committed_is_published_in_the_order_of_each_key(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    commit_many(&shop, 200, 7).await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    let records = records_until(&broker, |records| records.len() >= 200);
    assert_in_order(&records);
    assert_eq!(distinct(&records), 200);
    for record in &records {
        let landed = partition_of(record.key().unwrap(), PARTITIONS.cast_unsigned());
        assert_eq!(record.partition(), landed.cast_signed(), "as the contract says, and the relay reckons");
    }
    assert_eq!(header(&records[0], "ce_type"), "order-completed.v1");
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

/// In reads that overlap with what is on its way.
async fn a_backlog_is_published_once_and_in_the_order_of_each_key(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let rows: Vec<OutboxMessage> = (0..3000).map(|n| message(&format!("key {}", n * n % 701), n)).collect();
    commit(&shop, rows, WakeUp::default()).await;
    let small = [("RELAY__BATCH_ROWS", "40"), ("RELAY__MAX_IN_FLIGHT", "150")];
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &small), WakeUp::default());
    until_outbox_has(&shop, 0).await;
    let records = records_until(&broker, |records| records.len() >= 3000);
    assert_in_order(&records);
    assert_eq!((records.len(), distinct(&records)), (3000, 3000));
    relay.stop().await;
}

async fn the_callback_wakes_the_relay(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    // Nobody but the callback can wake it within the time that a case may take.
    let settings = relay_settings(&shop, &broker, &[("RELAY__POLL_INTERVAL", "1h"), ("RELAY__LEASE", "1h")]);
    let wake_up = WakeUp::default();
    let relay = RunningRelay::start(&shop, &settings, wake_up.clone());
    for number in 0..3 {
        commit(&shop, vec![message("k", number)], wake_up.clone()).await;
        records_until(&broker, |records| records.len() > number);
        until_outbox_has(&shop, 0).await;
    }
    relay.stop().await;
}

async fn a_row_of_a_lower_seq_that_commits_late_is_published(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    let late = shop.session().await;
    late.batch_execute(
        "BEGIN; INSERT INTO outbox (topic, key, event_id, payload, headers) \
         SELECT 'order-completed', 'late', id, '0', jsonb_build_object('ce_id', id) FROM gen_random_uuid() AS id",
    )
    .await
    .unwrap();
    commit(&shop, vec![message("early", 1)], WakeUp::default()).await;
    records_until(&broker, |records| records.len() == 1);
    late.batch_execute("COMMIT").await.unwrap();
    shop.balanced(&records_until(&broker, |records| records.len() == 2)).await;
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

async fn a_broker_that_is_away_loses_nothing_and_keeps_the_order(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let settings = relay_settings(&shop, &broker, &[("RELAY__MAX_IN_FLIGHT", "20")]);
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    commit_many(&shop, 20, 5).await;
    records_until(&broker, |records| records.len() >= 20);
    each_broker(&broker, |cluster, id| cluster.broker_down(id).unwrap());
    let all: Vec<OutboxMessage> = (20..200).map(|n| message(&format!("key {}", n % 60), n)).collect();
    commit(&shop, all, WakeUp::default()).await;
    until_alarm(&relay, IN_FLIGHT_FULL, true).await;
    assert!(relay.metrics.in_flight() <= 20, "however many wait, only so many are held in memory");
    each_broker(&broker, |cluster, id| cluster.broker_up(id).unwrap());
    let records = records_until(&broker, |records| distinct(records) == 200);
    shop.balanced(&records).await;
    until_outbox_has(&shop, 0).await;
    until_alarm(&relay, IN_FLIGHT_FULL, false).await;
    relay.stop().await;
}

async fn a_row_that_does_not_fit_in_is_not_overtaken_by_its_key(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    // The second row does not fit beside the first one, the third one would.
    let rows = vec![sized("other", 0, 300), sized("k", 1, 400), sized("k", 2, 150)];
    commit(&shop, rows, WakeUp::default()).await;
    let settings = relay_settings(&shop, &broker, &[("RELAY__MAX_IN_FLIGHT_BYTES", "500")]);
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    let records = records_until(&broker, |records| records.len() == 3);
    assert_in_order(&records);
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

async fn a_leaderless_partition_holds_up_only_its_own_keys(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    broker.cluster().partition_leader(TOPIC, 0, None).unwrap();
    commit_many(&shop, 60, 30).await;
    let settings = relay_settings(&shop, &broker, &[]);
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    // Every key lands on one of three partitions; two of them flow.
    let records = records_until(&broker, |records| {
        let partitions: BTreeSet<i32> = records.iter().map(Message::partition).collect();
        partitions == BTreeSet::from([1, 2])
    });
    assert!(records.iter().all(|record| record.partition() != 0));
    // It dies with the others on their way: what was not acknowledged is still in the table.
    relay.task.abort();
    drop(relay.task.await);
    let left = usize::try_from(shop.number("SELECT count(*) FROM outbox").await).unwrap();
    assert!(left > 0);
    records_until(&broker, |records| distinct(records) + left >= 60);

    broker.cluster().partition_leader(TOPIC, 0, Some(1)).unwrap();
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    let records = records_until(&broker, |records| distinct(records) == 60);
    shop.balanced(&records).await;
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

/// However many of its rows there are, wherever they stand, and although few may be in flight. The relay reads past them.
async fn a_leaderless_partition_with_a_backlog_holds_up_only_its_own_keys(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    broker.cluster().partition_leader(TOPIC, 0, None).unwrap();
    let partition = |key: &str| partition_of(key.as_bytes(), PARTITIONS as u32);
    let keys: Vec<String> = (0..600).map(|n| format!("key {n}")).collect();
    let (stuck, free): (Vec<&String>, Vec<&String>) = keys.iter().partition(|key| partition(key) == 0);
    // First many that hang, then those that can go, each key twice.
    let rows = stuck.iter().chain(&free).chain(&stuck).chain(&free).enumerate();
    let rows: Vec<OutboxMessage> = rows.map(|(n, key)| message(key, n)).collect();
    let (total, flows) = (rows.len(), 2 * free.len());
    commit(&shop, rows, WakeUp::default()).await;
    let few = [("RELAY__MAX_IN_FLIGHT", "40"), ("RELAY__BATCH_ROWS", "50")];
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &few), WakeUp::default());
    let records = records_until(&broker, |records| distinct(records) == flows);
    assert!(records.iter().all(|record| record.partition() != 0));
    // And what is committed meanwhile.
    let key = free[0];
    commit(&shop, vec![message(key, total)], WakeUp::default()).await;
    records_until(&broker, |records| distinct(records) == flows + 1);

    broker.cluster().partition_leader(TOPIC, 0, Some(1)).unwrap();
    until_outbox_has(&shop, 0).await;
    let records = records_until(&broker, |records| distinct(records) == total + 1);
    shop.balanced(&records).await;
    relay.stop().await;
}

async fn what_was_sent_before_the_number_of_partitions_was_known_holds_up_only_its_own_partition(
    rig: Arc<Rig>,
) {
    let (shop, broker) = (rig.shop().await, broker());
    broker.cluster().partition_leader(TOPIC, 2, None).unwrap();
    let key_of = |wanted: u32| {
        let mut keys = (0..).map(|n| format!("key {n}"));
        keys.find(|key| partition_of(key.as_bytes(), PARTITIONS.cast_unsigned()) == wanted).unwrap()
    };
    commit(&shop, vec![message(&key_of(2), 0)], WakeUp::default()).await;
    let partitions = TopicPartitions::default();
    let settings = relay_settings(&shop, &broker, &[("RELAY__STRAGGLER_AFTER", "20ms")]);
    let relay = RunningRelay::start_knowing(partitions.clone(), &shop, &settings, WakeUp::default());
    while relay.metrics.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    partitions.are(PARTITIONS as usize);
    commit(&shop, vec![message(&key_of(0), 1)], WakeUp::default()).await;
    let records = records_until(&broker, |records| records.len() == 1);
    assert_eq!(records[0].partition(), 0);
    broker.cluster().partition_leader(TOPIC, 2, Some(1)).unwrap();
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

/// Brokers that keep their connections and answer late: rows wait for their partition, not in the producer.
async fn what_is_committed_while_the_brokers_hang_arrives_once_and_in_order(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let settings = relay_settings(&shop, &broker, &[("RELAY__STRAGGLER_AFTER", "20ms")]);
    let wake_up = WakeUp::default();
    let relay = RunningRelay::start(&shop, &settings, wake_up.clone());
    commit(&shop, vec![message("first", 0)], wake_up.clone()).await;
    records_until(&broker, |records| records.len() == 1);
    let hang = |time| (1..=3).for_each(|id| broker.cluster().broker_round_trip_time(id, time).unwrap());
    hang(Duration::from_secs(2));
    for number in 0..20 {
        let row = |key: usize| message(&format!("k{key}"), 1 + number * 30 + key);
        commit(&shop, (0..30).map(row).collect(), wake_up.clone()).await;
    }
    hang(Duration::ZERO);
    until_outbox_has(&shop, 0).await;
    let records = records_until(&broker, |records| records.len() > 600);
    shop.balanced(&records).await;
    assert_eq!((records.len(), distinct(&records)), (601, 601), "once each");
    relay.stop().await;
}

async fn a_relay_that_loses_its_session_goes_on(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    for round in 0..3 {
        let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE application_name = 'order-service relay' AND datname = current_database()";
        let session = shop.session().await;
        while session.query_one(terminate, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
        commit(&shop, vec![message("k", round)], WakeUp::default()).await;
        until_outbox_has(&shop, 0).await;
    }
    assert_in_order(&records_until(&broker, |records| distinct(records) == 3));
    relay.stop().await;
}

async fn what_is_sent_when_it_stops_is_acknowledged_and_deleted(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    commit_many(&shop, 30, 30).await;
    until_outbox_has(&shop, 0).await;
    // From here on acknowledgements take so long that they are still on their way at the stop.
    each_broker(&broker, |cluster, id| {
        cluster.broker_round_trip_time(id, Duration::from_secs(1)).unwrap();
    });
    // In one transaction, and so in one read: what a later read finds waits here for its partition, and is not sent.
    let rows = (0..30).map(|n| message(&format!("key {n}"), n)).collect();
    commit(&shop, rows, WakeUp::default()).await;
    while relay.metrics.in_flight() < 30 {
        tokio::task::yield_now().await;
    }
    relay.stop().await;
    assert_eq!(shop.number("SELECT count(*) FROM outbox").await, 0, "each row that stays is a repeat");
}

async fn a_relay_that_died_between_acknowledgement_and_delete_repeats_under_the_same_id(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    commit(&shop, vec![message("k", 0), message("k", 1)], WakeUp::default()).await;
    // Deletes wait for this lock, so the relay dies after Kafka had the event and before the row is gone.
    let holder = shop.session().await;
    holder.batch_execute("BEGIN; LOCK TABLE outbox IN SHARE MODE").await.unwrap();
    let settings = relay_settings(&shop, &broker, &[]);
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    records_until(&broker, |records| records.len() == 1);
    relay.task.abort();
    drop(relay.task.await);
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(shop.number("SELECT count(*) FROM outbox").await, 2);

    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    until_outbox_has(&shop, 0).await;
    let records = records_until(&broker, |records| distinct(records) == 2);
    shop.balanced(&records).await;
    let ids: Vec<String> = records.iter().map(|record| header(record, "ce_id")).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (3, 2), "{ids:?}");
    assert_eq!(ids[0], ids[1], "the first one is repeated");
    relay.stop().await;
}

fn header(record: &OwnedMessage, name: &str) -> String {
    let mut headers = record.headers().unwrap().iter();
    let value = headers.find(|header| header.key == name).unwrap().value.unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}
