//! The audit finds what is hidden from it, and is silent about everything else.

use crate::cases;
use crate::relaying::{RunningRelay, TOPIC, broker, records_until, relay_settings, until_outbox_has};
use crate::requests::request;
use crate::rig::{Rig, Shop, settings_with};
use chrono::{TimeDelta, Utc};
use engines::kafka::MockBroker;
use order_service::audit::comparison::Window;
use order_service::audit::report::{Findings, Report, Told};
use order_service::audit::{self, AuditError, Plan, look_at_database};
use order_service::domain::order::CompletedOrder;
use order_service::kafka::topic_reader::ReadError;
use order_service::outbox::message::{OutboxMessage, order_completed};
use order_service::outbox::message_headers::MessageHeaders;
use order_service::outbox::wake_up::WakeUp;
use order_service::settings::Settings;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::block_in_place;
use uuid::Uuid;

cases!(
    an_audit_of_a_clean_run_finds_nothing,
    an_audit_finds_a_lost_an_invented_and_a_repeated_event,
    an_event_that_says_something_else_than_its_order_is_found,
    a_record_under_a_wrong_key_and_one_that_cannot_be_read_are_found,
    what_waits_in_the_outbox_or_in_quarantine_is_not_missing,
    what_is_published_between_the_looks_is_neither_missing_nor_unexpected,
    what_retention_may_have_taken_is_not_missing,
    a_kafka_that_does_not_answer_and_a_topic_that_is_not_there_are_told_in_time,
    the_orders_of_a_window_are_found_by_their_index,
);

/// Orders of one piece each.
pub(crate) async fn place(shop: &Shop, orders: usize) -> Vec<CompletedOrder> {
    shop.stock(&[(1500, 1000)]).await;
    let checkout = shop.checkout();
    let mut placed = Vec::new();
    for _ in 0..orders {
        let key = Uuid::new_v4().to_string();
        placed.push(checkout.complete(request(1, &key, &[(1, 1)], None)).await.unwrap());
    }
    placed
}

pub(crate) fn last_hour() -> Plan {
    let now = Utc::now();
    let window = Window { from: now - TimeDelta::hours(1), to: now + TimeDelta::hours(1) };
    Plan { window, limit: 20, kafka_timeout: Duration::from_secs(30) }
}

pub(crate) async fn audit(settings: &Settings) -> Report {
    audit::run(settings, last_hour()).await.unwrap()
}

/// Publishes what is in the outbox.
pub(crate) async fn publish(shop: &Shop, settings: &Settings) {
    let relay = RunningRelay::start(shop, settings, WakeUp::default());
    until_outbox_has(shop, 0).await;
    relay.stop().await;
}

fn event(order: &CompletedOrder) -> OutboxMessage {
    order_completed(order, TOPIC, None).unwrap()
}

/// Sends records past the outbox.
fn send(broker: &MockBroker, messages: &[OutboxMessage]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    for message in messages {
        let headers = message
            .headers
            .fold(OwnedHeaders::new(), |all, key, value| all.insert(Header { key, value: Some(value) }));
        let record = BaseRecord::to(TOPIC).key(&message.key).payload(&message.payload).headers(headers);
        producer.send(record).unwrap();
    }
    block_in_place(|| producer.flush(Duration::from_secs(30)).unwrap());
}

fn ids(told: &[Told]) -> Vec<i64> {
    told.iter().map(|told| told.order_id).collect()
}

async fn an_audit_of_a_clean_run_finds_nothing(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    place(&shop, 20).await;
    publish(&shop, &settings).await;
    let report = audit(&settings).await;
    assert_eq!((report.counts.orders, report.counts.published), (20, 20), "{report}");
    assert_eq!((report.counts.records_read, report.counts.records_of_other_orders), (20, 0), "{report}");
    assert_eq!(report.broken(true), None, "{report}");
    assert_eq!((report.findings.pending.count, report.findings.beyond_retention.count), (0, 0), "{report}");
}

async fn an_audit_finds_a_lost_an_invented_and_a_repeated_event(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    let orders = place(&shop, 9).await;
    let (lost, repeated) = (&orders[2], &orders[5]);
    shop.execute(&format!("DELETE FROM outbox WHERE key = '{}'", lost.id)).await;
    publish(&shop, &settings).await;
    let mut invented = orders[7].clone();
    invented.id.0 = 4711;
    let mut second_event = orders[8].clone();
    second_event.event_id = Uuid::now_v7();
    send(&broker, &[event(repeated), event(&invented), event(&second_event), event(repeated)]);

    let report = audit(&settings).await;
    let Findings { missing, unexpected, repeated: repeats, .. } = &report.findings;
    assert_eq!(ids(&missing.first), [lost.id.0], "{report}");
    let mut told: Vec<_> = unexpected.first.iter().map(|one| (one.order_id, one.stored_event_id)).collect();
    told.sort();
    let wanted = [(orders[8].id.0, Some(orders[8].event_id)), (4711, None)];
    assert_eq!(told, wanted, "{report}");
    assert_eq!(repeats.first.len(), 1, "{report}");
    assert_eq!((repeats.first[0].order.order_id, repeats.first[0].records), (repeated.id.0, 3));
    let told = report.broken(false).unwrap();
    assert_eq!(told, "1 order(s) without an event, 2 record(s) that no order has");
}

async fn an_event_that_says_something_else_than_its_order_is_found(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    let orders = place(&shop, 4).await;
    publish(&shop, &settings).await;
    let mut other_product = orders[1].clone();
    other_product.lines[0].product_id.0 += 1;
    send(&broker, &[event(&orders[0]), event(&other_product)]);
    // And one whose order was changed behind its event's back.
    shop.execute(&format!("UPDATE order_line SET quantity = 2 WHERE order_id = {}", orders[3].id)).await;
    let report = audit(&settings).await;
    let mut found: Vec<i64> = report.findings.different.first.iter().map(|one| one.order_id).collect();
    found.sort_unstable();
    assert_eq!(found, [orders[1].id.0, orders[3].id.0], "{report}");
    assert_eq!(report.broken(false).unwrap(), "2 record(s) that say something else than their order");
}

async fn a_record_under_a_wrong_key_and_one_that_cannot_be_read_are_found(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    let orders = place(&shop, 2).await;
    let wrong_key = OutboxMessage { key: "13".to_owned(), ..event(&orders[0]) };
    let mut other_type = event(&orders[1]);
    let headers = other_type.headers.as_json().replace("order-completed.v1", "order-cancelled.v1");
    other_type.headers = MessageHeaders::from_json(headers);
    let no_json = OutboxMessage { payload: "{".to_owned(), ..event(&orders[1]) };
    publish(&shop, &settings).await;
    send(&broker, &[wrong_key, other_type, no_json]);
    let report = audit(&settings).await;
    let Findings { wrong_key, unreadable, missing, .. } = &report.findings;
    assert_eq!((wrong_key.first[0].order_id, wrong_key.first[0].key.as_str()), (orders[0].id.0, "13"));
    assert_eq!((unreadable.count, missing.count), (2, 0), "{report}");
    let causes: Vec<&str> = unreadable.first.iter().map(|one| one.cause.as_str()).collect();
    assert!(causes.iter().any(|cause| cause.contains("order-cancelled.v1")), "{causes:?}");
}

async fn what_waits_in_the_outbox_or_in_quarantine_is_not_missing(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    let orders = place(&shop, 3).await;
    let report = audit(&settings).await;
    assert_eq!((report.findings.pending.count, report.broken(true)), (3, None), "{report}");
    let (first, second) = (orders[0].id.0, orders[1].id.0);
    shop.execute(&format!(
        "WITH moved AS (DELETE FROM outbox WHERE key = '{first}' RETURNING *) \
         INSERT INTO outbox_quarantine (seq, topic, key, event_id, payload, headers, created_at) \
         SELECT seq, topic, key, event_id, payload, headers, created_at FROM moved; \
         DELETE FROM outbox WHERE key = '{second}'"
    ))
    .await;
    let report = audit(&settings).await;
    let Findings { missing, pending, quarantined, .. } = &report.findings;
    assert_eq!(ids(&quarantined.first), [first], "{report}");
    assert_eq!(ids(&missing.first), [second], "{report}");
    assert_eq!(ids(&pending.first), [orders[2].id.0], "{report}");
}

/// The looks are taken one after the other here, and the world goes on in between.
async fn what_is_published_between_the_looks_is_neither_missing_nor_unexpected(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    place(&shop, 5).await;
    let look = look_at_database(&shop.database, last_hour()).await.unwrap();
    place(&shop, 7).await;
    publish(&shop, &settings).await;
    let report = look.compare_with_topic(&settings.kafka, settings.topics.retention).await.unwrap();
    assert_eq!((report.counts.orders, report.counts.published), (5, 5), "{report}");
    assert_eq!(report.counts.records_of_other_orders, 7, "{report}");
    assert_eq!((report.findings.pending.count, report.broken(true)), (0, None), "{report}");
}

/// The mock cluster keeps 5 MiB a partition.
async fn what_retention_may_have_taken_is_not_missing(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    let orders = place(&shop, 12).await;
    publish(&shop, &settings).await;
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap_servers()).create().unwrap();
    let (large, later) = ("0".repeat(900_000), (Utc::now() + TimeDelta::seconds(1)).timestamp_millis());
    for _ in 0..8 {
        let record = BaseRecord::to(TOPIC).key("").payload(&large).partition(1).timestamp(later);
        producer.send(record).unwrap();
        block_in_place(|| producer.flush(Duration::from_secs(30)).unwrap());
    }
    let taken = of_partition(&orders, 1);
    assert!(!taken.is_empty());
    let report = audit(&settings).await;
    assert_eq!(ids(&report.findings.beyond_retention.first), taken, "{report}");
    assert_eq!(report.findings.missing.count, 0, "{report}");
    // An order that is younger than what is left is missing, whatever retention has taken before.
    let lost = loop {
        let order = place(&shop, 1).await.remove(0);
        if !of_partition(std::slice::from_ref(&order), 1).is_empty() {
            break order;
        }
    };
    let younger = "completed_at = now() + interval '1 minute'";
    shop.execute(&format!("DELETE FROM outbox; UPDATE orders SET {younger} WHERE id = {}", lost.id)).await;
    let report = audit(&settings).await;
    assert!(ids(&report.findings.missing.first).contains(&lost.id.0), "{report}");
}

fn of_partition(orders: &[CompletedOrder], partition: u32) -> Vec<i64> {
    let of = |id: i64| shared_messages::topics::partition_of(id.to_string().as_bytes(), 3);
    orders.iter().map(|order| order.id.0).filter(|id| of(*id) == partition).collect()
}

async fn a_kafka_that_does_not_answer_and_a_topic_that_is_not_there_are_told_in_time(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let plan = Plan { kafka_timeout: Duration::from_millis(500), ..last_hour() };
    let url = shop.own.url();
    let nobody = settings_with(&[("DATABASE__URL", &url), ("KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")]);
    let error = audit::run(&nobody, plan).await.unwrap_err();
    assert!(matches!(error, AuditError::Kafka(ReadError::Silent { .. })), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("127.0.0.1:1") && told.contains("--kafka-timeout"), "{told}");

    let broker = broker();
    let other = relay_settings(&shop, &broker, &[("KAFKA__TOPIC", "other")]);
    let error = audit::run(&other, last_hour()).await.unwrap_err();
    assert!(matches!(error, AuditError::Kafka(ReadError::Topic { .. })), "{error:?}");

    // It answers no more once the topic is to be read: the leader of a partition is gone.
    let settings = relay_settings(&shop, &broker, &[]);
    place(&shop, 12).await;
    publish(&shop, &settings).await;
    records_until(&broker, |records| records.len() >= 12);
    broker.cluster().partition_leader(TOPIC, 0, None).unwrap();
    let error = audit::run(&settings, plan).await.unwrap_err();
    assert!(matches!(error, AuditError::Kafka(ReadError::Silent { .. })), "{error:?}");
}

async fn the_orders_of_a_window_are_found_by_their_index(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.execute(
        "INSERT INTO orders (id, user_id, request_key, fingerprint, event_id, total_amount, discount_amount, completed_at) \
         SELECT n, 1, n::text, '', gen_random_uuid(), 1, 0, now() - interval '1 day' + n * interval '1 second' \
         FROM generate_series(1, 50000) n",
    )
    .await;
    shop.execute("VACUUM (ANALYZE) orders").await;
    let session = shop.session().await;
    let plan = session
        .query(
            "EXPLAIN SELECT id, event_id, completed_at FROM orders WHERE completed_at >= now() - interval '1 day' \
             AND completed_at < now() - interval '23 hours'",
            &[],
        )
        .await
        .unwrap();
    let lines: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(lines.iter().any(|line| line.contains("orders_completed_at")), "{lines:#?}");
}
