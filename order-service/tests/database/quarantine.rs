//! P10, P14: what Kafka refuses for good leaves the way, and nothing else does.

use crate::cases;
use crate::crash_points::process::{answer_of_command, answer_of_command_with};
use crate::relaying::{
    PARTITIONS, RunningRelay, TOPIC, broker, commit, commit_many, distinct, message, number, records_until,
    relay_settings, sized, until_alarm, until_outbox_has,
};
use crate::rig::{Rig, Shop};
use order_service::outbox::relay::{OUTBOX_QUARANTINED, PUBLISHING_FAILS};
use order_service::outbox::wake_up::WakeUp;
use order_service::storage::quarantine::{self, Selection};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::Value;
use shared_messages::topics::partition_of;
use std::process::Command;
use std::sync::Arc;

cases!(
    an_event_that_is_too_large_goes_into_quarantine_with_the_later_rows_of_its_key_and_the_rest_flows,
    what_is_released_is_published_in_the_order_of_its_key,
    a_row_that_is_just_moving_into_quarantine_is_released_with_its_key,
    what_is_released_and_still_refused_comes_back,
    rows_that_were_copied_back_move_again_and_the_rest_flows,
    a_row_whose_seq_another_event_has_in_quarantine_stays_and_the_rest_flows,
    a_key_whose_rows_were_discarded_goes_on,
    what_is_in_quarantine_for_longer_than_its_retention_is_discarded_and_nothing_else,
    a_record_that_the_broker_calls_invalid_goes_into_quarantine,
    of_a_batch_that_is_refused_only_what_is_refused_alone_is_quarantined,
    no_failure_is_told_of_a_row_that_moved_into_quarantine,
    who_has_lost_the_lease_unnoticed_quarantines_nothing,
    a_permission_that_was_revoked_is_an_alarm_and_quarantines_nothing,
    a_topic_that_is_missing_quarantines_nothing,
    an_operator_sees_lists_releases_and_discards,
    a_command_ends_though_the_server_answers_no_more,
);

const QUARANTINED: &str = "SELECT count(*) FROM outbox_quarantine";
const TOO_LARGE: usize = 2_000_000;

/// Rows 0 and 1 of the key `bad` are in quarantine, row 2 of `good` is published.
pub(crate) async fn with_a_bad_key(shop: &Shop, broker: &engines::kafka::MockBroker) -> RunningRelay {
    let rows = vec![sized("bad", 0, TOO_LARGE), message("bad", 1), message("good", 2)];
    commit(shop, rows, WakeUp::default()).await;
    let relay = RunningRelay::start(shop, &relay_settings(shop, broker, &[]), WakeUp::default());
    until_outbox_has(shop, 0).await;
    assert_eq!(shop.number(QUARANTINED).await, 2);
    relay
}

pub(crate) async fn cure(shop: &Shop) {
    shop.execute("UPDATE outbox_quarantine SET payload = '0' WHERE octet_length(payload) > 1000").await;
}

pub(crate) async fn release(shop: &Shop, selection: Selection) -> usize {
    let session = &mut shop.database.session().await.unwrap();
    quarantine::release(session, &selection, 0).await.unwrap().len()
}

fn each_produce_fails(
    cluster: &MockCluster<'_, DefaultProducerContext>,
    error: RDKafkaRespErr,
    times: usize,
) {
    cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
}

async fn an_event_that_is_too_large_goes_into_quarantine_with_the_later_rows_of_its_key_and_the_rest_flows(
    rig: Arc<Rig>,
) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let relay = with_a_bad_key(&shop, &broker).await;
    until_alarm(&relay, OUTBOX_QUARANTINED, true).await;
    commit(&shop, vec![message("bad", 3), message("good", 4)], WakeUp::default()).await;
    until_outbox_has(&shop, 0).await;
    let records = records_until(&broker, |records| records.len() == 2);
    assert_eq!(records.iter().map(number).collect::<Vec<_>>(), [2, 4], "nothing of the key overtakes");
    shop.balanced(&records).await;
    let causes = "SELECT string_agg(coalesce(split_part(cause, ' ', 1), '-'), ' ' ORDER BY seq) FROM outbox_quarantine";
    let causes: String = shop.session().await.query_one(causes, &[]).await.unwrap().get(0);
    assert_eq!(causes, "Message - -");
    until_alarm(&relay, PUBLISHING_FAILS, false).await;
    relay.stop().await;
    // The next one knows, too.
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    until_alarm(&relay, OUTBOX_QUARANTINED, true).await;
    commit(&shop, vec![message("bad", 5)], WakeUp::default()).await;
    until_outbox_has(&shop, 0).await;
    assert_eq!(shop.number(QUARANTINED).await, 4);
    relay.stop().await;
}

async fn what_is_released_is_published_in_the_order_of_its_key(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let relay = with_a_bad_key(&shop, &broker).await;
    commit(&shop, vec![message("bad", 3)], WakeUp::default()).await;
    until_outbox_has(&shop, 0).await;
    // Its reads begin above the rows that will come back.
    while relay.metrics.scan_floor() < 4 {
        tokio::task::yield_now().await;
    }
    cure(&shop).await;
    assert_eq!(release(&shop, Selection::Key("bad".to_owned())).await, 3);
    commit(&shop, vec![message("bad", 4)], WakeUp::default()).await;
    let records = records_until(&broker, |records| distinct(records) == 5);
    shop.balanced(&records).await;
    until_outbox_has(&shop, 0).await;
    until_alarm(&relay, OUTBOX_QUARANTINED, false).await;
    relay.stop().await;
}

async fn a_row_that_is_just_moving_into_quarantine_is_released_with_its_key(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    with_a_bad_key(&shop, &broker).await.stop().await;
    commit(&shop, vec![message("bad", 3)], WakeUp::default()).await;
    let relay = shop.session().await;
    relay.batch_execute("BEGIN").await.unwrap();
    let moved = "WITH held AS (DELETE FROM outbox RETURNING *) INSERT INTO outbox_quarantine \
                 (seq, topic, key, event_id, payload, headers, created_at) \
                 SELECT seq, topic, key, event_id, payload, headers, created_at FROM held";
    assert_eq!(relay.execute(moved, &[]).await.unwrap(), 1);
    let releasing = {
        let database = shop.database.clone();
        tokio::spawn(async move {
            let selection = Selection::Key("bad".to_owned());
            quarantine::release(&mut database.session().await.unwrap(), &selection, 0).await.unwrap().len()
        })
    };
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox_quarantine'::regclass \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while shop.number(waits).await == 0 && !releasing.is_finished() {
        tokio::task::yield_now().await;
    }
    relay.batch_execute("COMMIT").await.unwrap();
    assert_eq!(releasing.await.unwrap(), 3);
    assert_eq!(shop.number(QUARANTINED).await, 0);
}

async fn what_is_released_and_still_refused_comes_back(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = with_a_bad_key(&shop, &broker).await;
    shop.execute("UPDATE outbox_quarantine SET quarantined_at = 'epoch'").await;
    assert_eq!(release(&shop, Selection::All).await, 2);
    let back = "SELECT count(*) FROM outbox_quarantine WHERE quarantined_at > 'epoch'";
    while shop.number(back).await < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(records_until(&broker, |records| !records.is_empty()).len(), 1);
    relay.stop().await;
}

/// By a person who knows no `release`, and leaves them where they were, too.
const COPY_BACK: &str = "INSERT INTO outbox (seq, topic, key, event_id, payload, headers) OVERRIDING SYSTEM VALUE \
     SELECT seq, topic, key, event_id, payload, headers FROM outbox_quarantine";

async fn rows_that_were_copied_back_move_again_and_the_rest_flows(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    with_a_bad_key(&shop, &broker).await.stop().await;
    shop.execute(COPY_BACK).await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    commit(&shop, vec![message("good", 3)], WakeUp::default()).await;
    until_outbox_has(&shop, 0).await;
    assert_eq!(distinct(&records_until(&broker, |records| records.len() == 2)), 2);
    assert_eq!(shop.number(QUARANTINED).await, 2);
    relay.stop().await;
}

async fn a_row_whose_seq_another_event_has_in_quarantine_stays_and_the_rest_flows(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    with_a_bad_key(&shop, &broker).await.stop().await;
    shop.execute(COPY_BACK).await;
    shop.execute("UPDATE outbox SET event_id = gen_random_uuid(), key = 'other'").await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    until_alarm(&relay, PUBLISHING_FAILS, true).await;
    commit(&shop, vec![message("good", 3)], WakeUp::default()).await;
    until_outbox_has(&shop, 2).await;
    records_until(&broker, |records| records.iter().any(|record| number(record) == 3));
    assert_eq!(shop.number(QUARANTINED).await, 2, "neither event is lost");
    shop.execute("DELETE FROM outbox_quarantine").await;
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

async fn a_key_whose_rows_were_discarded_goes_on(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = with_a_bad_key(&shop, &broker).await;
    let session = shop.database.session().await.unwrap();
    assert_eq!(quarantine::discard(&session, &Selection::Seq(1)).await.unwrap().len(), 1);
    assert_eq!(quarantine::discard(&session, &Selection::Key("bad".to_owned())).await.unwrap().len(), 1);
    commit(&shop, vec![message("bad", 7)], WakeUp::default()).await;
    records_until(&broker, |records| records.iter().any(|record| number(record) == 7));
    until_alarm(&relay, OUTBOX_QUARANTINED, false).await;
    relay.stop().await;
}

async fn what_is_in_quarantine_for_longer_than_its_retention_is_discarded_and_nothing_else(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    with_a_bad_key(&shop, &broker).await.stop().await;
    shop.execute(
        "UPDATE outbox_quarantine SET quarantined_at = quarantined_at - interval '2 days' WHERE seq = 1",
    )
    .await;
    for (retention, left) in [("unlimited", 2), ("3d", 2), ("1d", 1)] {
        let settings = relay_settings(&shop, &broker, &[("RELAY__QUARANTINE_RETENTION", retention)]);
        let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
        // It has looked: rows of the key still follow.
        commit(&shop, vec![message("bad", 8), message("good", 9)], WakeUp::default()).await;
        until_outbox_has(&shop, 0).await;
        shop.execute("DELETE FROM outbox_quarantine WHERE payload = '8'").await;
        assert_eq!(shop.number(QUARANTINED).await, left, "{retention}");
        relay.stop().await;
    }
    assert_eq!(shop.number("SELECT seq FROM outbox_quarantine").await, 2);
}

async fn a_record_that_the_broker_calls_invalid_goes_into_quarantine(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    each_produce_fails(&broker.cluster(), RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, 2);
    commit(&shop, vec![message("bad", 0)], WakeUp::default()).await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    until_alarm(&relay, OUTBOX_QUARANTINED, true).await;
    commit(&shop, vec![message("good", 1)], WakeUp::default()).await;
    let records = records_until(&broker, |records| !records.is_empty());
    assert_eq!(records.iter().map(number).collect::<Vec<_>>(), [1]);
    shop.balanced(&records).await;
    assert_eq!(shop.number(QUARANTINED).await, 1);
    relay.stop().await;
}

async fn of_a_batch_that_is_refused_only_what_is_refused_alone_is_quarantined(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    // Each of the three partitions has its first batch refused, and one row alone.
    each_produce_fails(&broker.cluster(), RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, 4);
    commit(&shop, (0..60).map(|n| message(&format!("key {n}"), n)).collect(), WakeUp::default()).await;
    let relay = RunningRelay::start(
        &shop,
        &relay_settings(&shop, &broker, &[("KAFKA__PROPERTIES__LINGER__MS", "300")]),
        WakeUp::default(),
    );
    until_outbox_has(&shop, 0).await;
    assert_eq!(shop.number(QUARANTINED).await, 1);
    let counts = shop.balanced(&records_until(&broker, |records| records.len() == 59)).await;
    assert_eq!(counts.repeated_records, 0);
    relay.stop().await;
}

/// Its first refusal, which is no proof yet, is told as a failure. The table is never read as a whole here, as a partition hangs.
async fn no_failure_is_told_of_a_row_that_moved_into_quarantine(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let mut keys = (0..).map(|n| format!("key {n}"));
    let mut key_of = |wanted: u32| {
        keys.find(|key| partition_of(key.as_bytes(), PARTITIONS.cast_unsigned()) == wanted).unwrap()
    };
    let (hangs, flows) = (key_of(0), key_of(1));
    broker.cluster().partition_leader(TOPIC, 0, None).unwrap();
    each_produce_fails(&broker.cluster(), RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, 2);
    commit(&shop, vec![message(&hangs, 0), message(&hangs, 1), message(&flows, 2)], WakeUp::default()).await;
    let changes = [("RELAY__BATCH_ROWS", "1"), ("RELAY__STRAGGLER_AFTER", "20ms")];
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &changes), WakeUp::default());
    until_alarm(&relay, PUBLISHING_FAILS, true).await;
    while shop.number(QUARANTINED).await == 0 {
        tokio::task::yield_now().await;
    }
    until_alarm(&relay, PUBLISHING_FAILS, false).await;
    relay.stop().await;
}

/// It does not ask again for a third of an hour.
async fn who_has_lost_the_lease_unnoticed_quarantines_nothing(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = RunningRelay::start(
        &shop,
        &relay_settings(&shop, &broker, &[("RELAY__LEASE", "1h")]),
        WakeUp::default(),
    );
    relay.until_leads(true).await;
    shop.execute("UPDATE relay_lease SET holder_name = holder::text, holder = gen_random_uuid()").await;
    let rows = vec![sized("bad", 0, TOO_LARGE), message("good", 1)];
    commit(&shop, rows, WakeUp::default()).await;
    until_alarm(&relay, PUBLISHING_FAILS, true).await;
    until_outbox_has(&shop, 1).await;
    assert_eq!(shop.number(QUARANTINED).await, 0);
    shop.execute("UPDATE relay_lease SET holder = holder_name::uuid").await;
    until_outbox_has(&shop, 0).await;
    assert_eq!(shop.number(QUARANTINED).await, 1);
    relay.stop().await;
}

async fn a_permission_that_was_revoked_is_an_alarm_and_quarantines_nothing(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let revoked = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    each_produce_fails(&broker.cluster(), revoked, 5);
    commit_many(&shop, 20, 4).await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    until_alarm(&relay, PUBLISHING_FAILS, true).await;
    shop.balanced(&records_until(&broker, |records| distinct(records) == 20)).await;
    until_outbox_has(&shop, 0).await;
    until_alarm(&relay, PUBLISHING_FAILS, false).await;
    assert_eq!(shop.number(QUARANTINED).await, 0);
    relay.stop().await;
}

async fn a_topic_that_is_missing_quarantines_nothing(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, engines::kafka::MockBroker::start(3).unwrap());
    commit_many(&shop, 200, 60).await;
    // Reads overlap: rows are refused while the next read brings later ones of their keys.
    let soon =
        [("KAFKA__PROPERTIES__TOPIC__METADATA__PROPAGATION__MAX__MS", "500"), ("RELAY__BATCH_ROWS", "30")];
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &soon), WakeUp::default());
    until_alarm(&relay, PUBLISHING_FAILS, true).await;
    assert_eq!(shop.number("SELECT count(*) FROM outbox").await, 200);
    broker.create_topic(TOPIC, PARTITIONS, 3).unwrap();
    shop.balanced(&records_until(&broker, |records| distinct(records) == 200)).await;
    until_outbox_has(&shop, 0).await;
    assert_eq!(shop.number(QUARANTINED).await, 0);
    relay.stop().await;
}

async fn an_operator_sees_lists_releases_and_discards(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = with_a_bad_key(&shop, &broker).await;
    let answer = async |arguments: &[&str]| answer_of_command(&shop, arguments).await;

    let (status, told) = answer(&["outbox", "status", "--json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((status, &told["pending"], &told["quarantined"]), (0, &0.into(), &2.into()), "{told}");
    assert!(told["holder"].as_str().unwrap().contains("process"), "{told}");

    let (status, told) = answer(&["outbox", "quarantine", "list"]).await;
    assert!(status == 0 && told.lines().count() == 3 && told.contains("follows"), "{told}");
    let (_, told) = answer(&["outbox", "quarantine", "list", "--limit", "1"]).await;
    assert!(told.lines().count() == 3 && told.contains("there are more"), "{told}");
    for (limit, is_cut_off) in [("1", true), ("2", false)] {
        let (_, told) = answer(&["outbox", "quarantine", "list", "--json", "--limit", limit]).await;
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["isCutOff"], is_cut_off, "{told}");
        assert_eq!(told["rows"].as_array().unwrap().len().to_string(), limit, "{told}");
    }
    let (status, told) = answer(&["outbox", "quarantine", "discard", "--seq", "1"]).await;
    assert!(status == 0 && told.contains("--yes"), "{told}");
    assert_eq!(shop.number(QUARANTINED).await, 2, "it only says what it would do");
    let (status, told) = answer(&["outbox", "quarantine", "discard", "--seq", "1", "--yes"]).await;
    assert!(status == 0 && told.contains("1 rows discarded"), "{told}");
    let (status, _) = answer(&["outbox", "quarantine", "release", "--key", "bad"]).await;
    assert_eq!(status, 0);
    records_until(&broker, |records| records.iter().any(|record| number(record) == 1));

    let (status, told) = answer(&["outbox", "quarantine", "list"]).await;
    assert_eq!((status, told.trim_end()), (0, "nothing is in quarantine"));
    let (status, told) = answer(&["outbox", "quarantine", "release", "--key", "nobody"]).await;
    assert!(status != 0 && told.contains("quarantine list"), "{told}");
    let (status, told) = answer(&["outbox", "quarantine", "release"]).await;
    assert!(status == 2 && told.contains("--all"), "{told}");
    relay.stop().await;
    shop.execute("DELETE FROM relay_lease").await;
    let (status, told) = answer(&["outbox", "status"]).await;
    assert!(status == 0 && told.contains("no instance"), "{told}");
}

/// The session that serves it is frozen, and so are the server's own limits.
async fn a_command_ends_though_the_server_answers_no_more(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let other = shop.session().await;
    let serves = "SELECT coalesce(max(pid), 0)::bigint FROM pg_stat_activity WHERE application_name = 'order-service' \
                  AND datname = current_database() AND wait_event_type = 'Lock'";
    let limits = [("DATABASE__STATEMENT_TIMEOUT", "5s"), ("DATABASE__LOCK_TIMEOUT", "5s")];
    for arguments in [
        ["outbox", "quarantine", "list"].as_slice(),
        &["outbox", "quarantine", "release", "--all"],
        &["outbox", "quarantine", "discard", "--all", "--yes"],
    ] {
        other.batch_execute("BEGIN; LOCK TABLE outbox_quarantine").await.unwrap();
        let answer = answer_of_command_with(&shop, &limits, arguments);
        let signal = |signal: &str, pid: &str| {
            assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
        };
        let frozen = async {
            shop.until(serves).await;
            let pid = shop.number(serves).await.to_string();
            signal("-STOP", &pid);
            pid
        };
        let ((status, told), pid) = tokio::join!(answer, frozen);
        signal("-CONT", &pid);
        assert!(status != 0 && told.contains("was not answered within"), "{told}");
        other.batch_execute("ROLLBACK").await.unwrap();
    }
}
