//! The relay publishes every committed message, in the order of each key, and deletes exactly what was
//! acknowledged.

use crate::cases;
use crate::rig::{PATIENCE, Rig, Shop, settings_with};
use engines::kafka::MockBroker;
use futures_util::FutureExt;
use order_service::outbox::message::OutboxMessage;
use order_service::outbox::relay::{IN_FLIGHT_FULL, PUBLISHING_FAILS, Relay};
use order_service::outbox::wake_up::WakeUp;
use order_service::settings::Settings;
use order_service::storage::error::DatabaseError;
use order_service::storage::transaction_completion::{Outcome, in_transaction};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use service_chassis::alarms::Alarms;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, block_in_place};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

cases!(
    what_is_committed_is_published_in_the_order_of_each_key,
    the_callback_wakes_the_relay,
    a_row_of_a_lower_seq_that_commits_late_is_published,
    a_broker_that_is_away_loses_nothing_and_keeps_the_order,
    a_refused_event_holds_up_only_its_own_key_and_stays,
    a_row_that_does_not_fit_in_is_not_overtaken_by_its_key,
    a_leaderless_partition_holds_up_only_its_own_keys,
    a_relay_that_loses_its_session_goes_on,
    what_is_sent_when_it_stops_is_acknowledged_and_deleted,
    a_relay_that_died_between_acknowledgement_and_delete_repeats_under_the_same_id,
);

const TOPIC: &str = "order-completed";
const PARTITIONS: i32 = 3;

struct RunningRelay {
    stop: CancellationToken,
    alarms: Alarms,
    task: JoinHandle<()>,
}

impl RunningRelay {
    fn start(shop: &Shop, settings: &Settings, wake_up: WakeUp) -> Self {
        let (stop, alarms) = (CancellationToken::new(), Alarms::new());
        let (kafka, relay) = (settings.kafka.clone(), settings.relay.clone());
        let relay = Relay::new(shop.database.clone(), kafka, relay, wake_up, alarms.clone()).unwrap();
        Self { task: tokio::spawn(relay.run(stop.clone())), stop, alarms }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn broker() -> MockBroker {
    let broker = MockBroker::start(3).unwrap();
    broker.create_topic(TOPIC, PARTITIONS, 3).unwrap();
    broker
}

fn relay_settings(shop: &Shop, broker: &MockBroker, changes: &[(&str, &str)]) -> Settings {
    let (url, servers) = (shop.own.url(), broker.bootstrap_servers());
    let own = [("DATABASE__URL", url.as_str()), ("KAFKA__BOOTSTRAP_SERVERS", servers.as_str())];
    settings_with(&own.into_iter().chain(changes.iter().copied()).collect::<Vec<_>>())
}

fn message(key: &str, number: usize) -> OutboxMessage {
    OutboxMessage {
        topic: TOPIC.to_owned(),
        key: key.to_owned(),
        event_id: Uuid::now_v7(),
        payload: number.to_string(),
        headers: BTreeMap::from([("ce_type".to_owned(), "order-completed.v1".to_owned())]),
    }
}

async fn commit(shop: &Shop, messages: Vec<OutboxMessage>, wake_up: WakeUp) {
    let outcome: Outcome<(), DatabaseError> = in_transaction(&shop.database, move |transaction| {
        for message in messages {
            transaction.publish(message);
        }
        transaction.after_commit(move || wake_up.wake());
        async { Ok(()) }.boxed()
    })
    .await;
    assert!(matches!(outcome, Outcome::Committed(())), "{outcome:?}");
}

/// Messages 0..count over so many keys, committed ten at a time.
async fn commit_many(shop: &Shop, count: usize, keys: usize) {
    let all: Vec<OutboxMessage> = (0..count).map(|n| message(&format!("key {}", n % keys), n)).collect();
    for some in all.chunks(10) {
        commit(shop, some.to_vec(), WakeUp::default()).await;
    }
}

/// Reads the topic from its beginning until `enough`, or fails.
fn records_until(broker: &MockBroker, enough: impl Fn(&[OwnedMessage]) -> bool) -> Vec<OwnedMessage> {
    block_in_place(|| {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap_servers())
            .set("group.id", Uuid::new_v4().to_string())
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while !enough(&records) {
            assert!(Instant::now() < deadline, "only {} records arrived", records.len());
            if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
                records.push(record.detach());
            }
        }
        records
    })
}

fn number(record: &OwnedMessage) -> usize {
    record.payload_view::<str>().unwrap().unwrap().parse().unwrap()
}

fn distinct(records: &[OwnedMessage]) -> usize {
    records.iter().map(number).collect::<BTreeSet<_>>().len()
}

/// First deliveries of each key are in the order of the commits.
fn assert_in_order(records: &[OwnedMessage]) {
    let mut seen: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for record in records {
        let of_key = seen.entry(record.key().unwrap()).or_default();
        if !of_key.contains(&number(record)) {
            of_key.push(number(record));
        }
    }
    for (key, numbers) in seen {
        assert!(numbers.is_sorted(), "{}: {numbers:?}", String::from_utf8_lossy(key));
    }
}

async fn until_outbox_has(shop: &Shop, rows: i64) {
    let session = shop.session().await;
    loop {
        let count: i64 = session.query_one("SELECT count(*) FROM outbox", &[]).await.unwrap().get(0);
        if count == rows {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn what_is_committed_is_published_in_the_order_of_each_key(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    commit_many(&shop, 200, 7).await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    let records = records_until(&broker, |records| records.len() >= 200);
    assert_in_order(&records);
    assert_eq!(distinct(&records), 200);
    let ce_type = records[0].headers().unwrap().get(0);
    assert_eq!((ce_type.key, ce_type.value), ("ce_type", Some(b"order-completed.v1".as_slice())));
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

async fn the_callback_wakes_the_relay(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    // Nobody but the callback can wake it within the time that a case may take.
    let settings = relay_settings(&shop, &broker, &[("RELAY__POLL_INTERVAL", "1h")]);
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
    let (shop, broker) = (rig.shop().await, broker());
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    let late = shop.session().await;
    late.batch_execute(
        "BEGIN; INSERT INTO outbox (topic, key, event_id, payload, headers) \
         VALUES ('order-completed', 'late', gen_random_uuid(), '0', '{}')",
    )
    .await
    .unwrap();
    commit(&shop, vec![message("early", 1)], WakeUp::default()).await;
    records_until(&broker, |records| records.len() == 1);
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(distinct(&records_until(&broker, |records| records.len() == 2)), 2);
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

fn each_broker(broker: &MockBroker, action: impl Fn(&MockCluster<'_, DefaultProducerContext>, i32)) {
    (1..=3).for_each(|id| action(&broker.cluster(), id));
}

async fn a_broker_that_is_away_loses_nothing_and_keeps_the_order(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    commit_many(&shop, 20, 5).await;
    records_until(&broker, |records| records.len() >= 20);
    each_broker(&broker, |cluster, id| cluster.broker_down(id).unwrap());
    let all: Vec<OutboxMessage> = (20..60).map(|n| message(&format!("key {}", n % 5), n)).collect();
    commit(&shop, all, WakeUp::default()).await;
    each_broker(&broker, |cluster, id| cluster.broker_up(id).unwrap());
    let records = records_until(&broker, |records| distinct(records) == 60);
    assert_in_order(&records);
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

fn sized(key: &str, number: usize, bytes: usize) -> OutboxMessage {
    let mut sized = message(key, number);
    sized.payload.insert_str(0, &"0".repeat(bytes - sized.payload.len()));
    sized
}

async fn until_alarm(relay: &RunningRelay, name: &str, active: bool) {
    while relay.alarms.active().iter().any(|alarm| alarm.name == name) != active {
        tokio::task::yield_now().await;
    }
}

async fn a_refused_event_holds_up_only_its_own_key_and_stays(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let too_large = sized("bad", 0, 2_000_000);
    commit(&shop, vec![too_large, message("bad", 1), message("good", 2)], WakeUp::default()).await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    commit(&shop, vec![message("good", 3)], WakeUp::default()).await;
    records_until(&broker, |records| records.iter().any(|record| number(record) == 3));
    until_outbox_has(&shop, 2).await;
    until_alarm(&relay, PUBLISHING_FAILS, true).await;
    // An operator removes the row: its key goes on, and the alarm is over.
    shop.execute("DELETE FROM outbox WHERE octet_length(payload) > 1000").await;
    let records = records_until(&broker, |records| records.len() == 3);
    assert_eq!(records.iter().map(number).collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
    until_alarm(&relay, PUBLISHING_FAILS, false).await;
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
    let (shop, broker) = (rig.shop().await, broker());
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
    assert_in_order(&records);
    until_outbox_has(&shop, 0).await;
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
    let settings = relay_settings(&shop, &broker, &[("RELAY__MAX_IN_FLIGHT", "30")]);
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    commit_many(&shop, 30, 30).await;
    until_outbox_has(&shop, 0).await;
    // From here on acknowledgements take so long that they are still on their way at the stop.
    each_broker(&broker, |cluster, id| {
        cluster.broker_round_trip_time(id, Duration::from_secs(1)).unwrap();
    });
    commit_many(&shop, 30, 30).await;
    until_alarm(&relay, IN_FLIGHT_FULL, true).await;
    relay.stop().await;
    assert_eq!(shop.number("SELECT count(*) FROM outbox").await, 0, "each row that stays is a repeat");
}

async fn a_relay_that_died_between_acknowledgement_and_delete_repeats_under_the_same_id(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
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
    assert_in_order(&records);
    relay.stop().await;
}
