//! Rows of the outbox that somebody else has locked: they hold up their own keys, and nothing else.

use crate::cases;
use crate::relaying::{
    RunningRelay, assert_in_order, broker, commit, commit_many, distinct, each_broker, message,
    records_until, relay_settings, sized, until_alarm, until_outbox_has,
};
use crate::rig::Rig;
use order_service::outbox::relay::{IN_FLIGHT_FULL, PUBLISHING_FAILS};
use order_service::outbox::wake_up::WakeUp;
use std::sync::Arc;
use std::time::Duration;

cases!(
    a_row_that_is_locked_holds_up_its_own_key_and_nothing_else,
    a_refused_row_that_is_locked_holds_up_its_own_key_and_nothing_else,
    a_quarantine_that_is_locked_holds_up_the_refused_key_and_nothing_else,
    a_locked_row_in_quarantine_is_discarded_later_and_the_others_at_once,
    a_lease_whose_row_is_locked_is_good_until_its_own_end,
    behind_the_end_of_a_lease_whose_row_is_locked_the_same_session_goes_on_when_it_is_free,
    a_row_that_has_the_seq_of_one_that_was_sent_is_not_taken_for_it,
    a_backlog_that_is_locked_is_sent_as_far_as_may_be_in_flight_and_then_waits,
);

/// Whether the other session's transaction ends by a COMMIT, so that the row is gone, or by a ROLLBACK.
async fn a_row_that_is_locked_holds_up_its_own_key_and_nothing_else(rig: Arc<Rig>) {
    for end in ["ROLLBACK", "COMMIT"] {
        let (shop, broker) = (rig.shop().await, broker());
        commit_many(&shop, 100, 10).await;
        let other = shop.session().await;
        other
            .batch_execute("BEGIN; DELETE FROM outbox WHERE seq = (SELECT min(seq) FROM outbox)")
            .await
            .unwrap();
        let settings = relay_settings(&shop, &broker, &[("RELAY__LEASE", "500ms")]);
        let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
        // The locked row, and the nine that come after it.
        until_outbox_has(&shop, 10).await;
        // For as long as a lease that is not renewed would have been over twice.
        shop.until("SELECT (until > since + interval '2 s')::int::bigint FROM relay_lease").await;
        commit(&shop, vec![message("key 0", 100), message("key 1", 101)], WakeUp::default()).await;
        until_outbox_has(&shop, 11).await;
        assert!(relay.metrics.leads());
        assert_eq!(relay.metrics.published(), 92, "all of the other keys, and the locked one once");

        other.batch_execute(end).await.unwrap();
        until_outbox_has(&shop, 0).await;
        let records = records_until(&broker, |records| records.len() >= 102);
        assert_in_order(&records);
        assert_eq!((records.len(), distinct(&records)), (102, 102), "once each");
        relay.stop().await;
    }
}

async fn a_refused_row_that_is_locked_holds_up_its_own_key_and_nothing_else(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let rows = vec![sized("bad", 0, 2_000_000), message("bad", 1), message("good", 2)];
    commit(&shop, rows, WakeUp::default()).await;
    let other = shop.session().await;
    other.batch_execute("BEGIN; SELECT FROM outbox WHERE seq = 1 FOR UPDATE").await.unwrap();
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    until_alarm(&relay, PUBLISHING_FAILS, true).await;
    until_outbox_has(&shop, 2).await;
    other.batch_execute("ROLLBACK").await.unwrap();
    until_outbox_has(&shop, 0).await;
    assert_eq!(shop.number("SELECT count(*) FROM outbox_quarantine").await, 2);
    until_alarm(&relay, PUBLISHING_FAILS, false).await;
    relay.stop().await;
}

/// As a release that takes its time does.
async fn a_quarantine_that_is_locked_holds_up_the_refused_key_and_nothing_else(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let other = shop.session().await;
    let lock = "BEGIN; LOCK TABLE outbox_quarantine IN SHARE ROW EXCLUSIVE MODE";
    other.batch_execute(lock).await.unwrap();
    let rows = vec![sized("bad", 0, 2_000_000), message("bad", 1)];
    commit(&shop, rows, WakeUp::default()).await;
    let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
    until_alarm(&relay, PUBLISHING_FAILS, true).await;
    commit(&shop, vec![message("good", 2)], WakeUp::default()).await;
    until_outbox_has(&shop, 2).await;
    other.batch_execute("ROLLBACK").await.unwrap();
    until_outbox_has(&shop, 0).await;
    assert_eq!(shop.number("SELECT count(*) FROM outbox_quarantine").await, 2);
    until_alarm(&relay, PUBLISHING_FAILS, false).await;
    relay.stop().await;
}

async fn a_locked_row_in_quarantine_is_discarded_later_and_the_others_at_once(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    shop.execute(
        "INSERT INTO outbox_quarantine (seq, topic, key, event_id, payload, headers, created_at, quarantined_at) \
         SELECT n, 'order-completed', n, gen_random_uuid(), n, '{}', 'epoch', 'epoch' FROM generate_series(1, 3) AS n",
    )
    .await;
    let other = shop.session().await;
    other.batch_execute("BEGIN; SELECT FROM outbox_quarantine WHERE seq = 2 FOR UPDATE").await.unwrap();
    let settings = relay_settings(&shop, &broker, &[("RELAY__QUARANTINE_RETENTION", "1d")]);
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    shop.until("SELECT (count(*) = 1)::int::bigint FROM outbox_quarantine").await;
    assert_eq!(shop.number("SELECT seq FROM outbox_quarantine").await, 2);
    commit(&shop, vec![message("good", 1)], WakeUp::default()).await;
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

const LOCK_LEASE: &str = "BEGIN; UPDATE relay_lease SET since = since";
const WAITS_FOR_LEASE: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'order-service relay' \
     AND datname = current_database() AND wait_event_type = 'Lock'";

async fn a_lease_whose_row_is_locked_is_good_until_its_own_end(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[("RELAY__LEASE", "15s")]);
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    relay.until_leads(true).await;
    let other = shop.session().await;
    other.batch_execute(LOCK_LEASE).await.unwrap();
    shop.until(WAITS_FOR_LEASE).await;
    commit(&shop, vec![message("k", 1)], WakeUp::default()).await;
    until_outbox_has(&shop, 0).await;
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(relay.metrics.takeovers(), 1);
    relay.stop().await;
}

async fn behind_the_end_of_a_lease_whose_row_is_locked_the_same_session_goes_on_when_it_is_free(
    rig: Arc<Rig>,
) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[("RELAY__LEASE", "300ms")]);
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    relay.until_leads(true).await;
    let session = "SELECT pid::bigint FROM pg_stat_activity WHERE application_name = 'order-service relay' \
                   AND datname = current_database()";
    let before = shop.number(session).await;
    let other = shop.session().await;
    other.batch_execute(LOCK_LEASE).await.unwrap();
    relay.until_leads(false).await;
    commit(&shop, vec![message("k", 1)], WakeUp::default()).await;
    shop.until(WAITS_FOR_LEASE).await;
    other.batch_execute("ROLLBACK").await.unwrap();
    until_outbox_has(&shop, 0).await;
    assert_eq!(shop.number(session).await, before);
    assert_eq!(relay.metrics.takeovers(), 1, "nobody else has published");
    relay.stop().await;
}

/// As a restore under a running service leaves it: the seq is drawn again, for an event that nobody has sent.
async fn a_row_that_has_the_seq_of_one_that_was_sent_is_not_taken_for_it(rig: Arc<Rig>) {
    for is_locked in [false, true] {
        let (shop, broker) = (rig.shop().await, broker());
        let hang =
            |time| each_broker(&broker, |cluster, id| cluster.broker_round_trip_time(id, time).unwrap());
        hang(Duration::from_secs(1));
        commit(&shop, vec![message("k", 1)], WakeUp::default()).await;
        let relay = RunningRelay::start(&shop, &relay_settings(&shop, &broker, &[]), WakeUp::default());
        while relay.metrics.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        shop.execute(
            "UPDATE outbox SET event_id = gen_random_uuid(), key = 'l', payload = '2' WHERE payload = '1'",
        )
        .await;
        hang(Duration::ZERO);
        let other = shop.session().await;
        if is_locked {
            other.batch_execute("BEGIN; SELECT FROM outbox FOR UPDATE").await.unwrap();
            while relay.metrics.published() == 0 {
                tokio::task::yield_now().await;
            }
            other.batch_execute("ROLLBACK").await.unwrap();
        }
        let records = records_until(&broker, |records| distinct(records) == 2);
        assert_eq!(records.len(), 2, "once each");
        until_outbox_has(&shop, 0).await;
        relay.stop().await;
    }
}

/// Each row that is sent and not deleted is a repeat if the relay dies, and takes memory.
async fn a_backlog_that_is_locked_is_sent_as_far_as_may_be_in_flight_and_then_waits(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    commit_many(&shop, 200, 200).await;
    let other = shop.session().await;
    other.batch_execute("BEGIN; SELECT FROM outbox FOR UPDATE").await.unwrap();
    let settings = relay_settings(&shop, &broker, &[("RELAY__MAX_IN_FLIGHT", "20")]);
    let relay = RunningRelay::start(&shop, &settings, WakeUp::default());
    let says_so = |relay: &RunningRelay| {
        let alarms = relay.alarms.active();
        alarms.iter().any(|alarm| alarm.name == IN_FLIGHT_FULL && !alarm.detail.contains(" and 0 have it"))
    };
    while !says_so(&relay) {
        tokio::task::yield_now().await;
    }
    while relay.metrics.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    // Those that are known to be locked, those whose delete was on its way, and those that were sent meanwhile.
    assert!((20..=60).contains(&relay.metrics.published()), "{}", relay.metrics.published());
    other.batch_execute("ROLLBACK").await.unwrap();
    until_outbox_has(&shop, 0).await;
    let records = records_until(&broker, |records| distinct(records) == 200);
    assert_eq!(records.len(), 200, "once each");
    until_alarm(&relay, IN_FLIGHT_FULL, false).await;
    relay.stop().await;
}
