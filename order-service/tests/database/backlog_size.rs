//! How much waits: an estimate that costs little however much it is, and the alarm on it.

use crate::cases;
use crate::metrics::{page, value};
use crate::rig::{Rig, Shop};
use crate::running::Running;
use order_service::outbox::backlog::{Backlog, BacklogAlarms};
use order_service::outbox::delay_alarm::DelayAlarm;
use order_service::outbox::size_alarm::{BACKLOG_LARGE, SizeAlarm};
use order_service::storage::outbox_size::{self, OutboxSize};
use service_chassis::alarms::Alarms;
use std::sync::Arc;
use std::time::Duration;

cases!(
    a_backlog_that_takes_too_much_of_the_disk_is_an_alarm_until_it_is_published_though_the_table_stays_large,
    the_service_shows_it_where_it_shows_all_of_its_alarms,
    what_waits_is_counted_exactly_where_it_is_little,
    a_large_backlog_is_estimated_from_few_of_its_rows_however_old_its_oldest_is,
);

/// As orders leave them, but each of another length.
async fn add(shop: &Shop, rows: usize) {
    shop.execute(&format!(
        "INSERT INTO outbox (topic, key, event_id, payload, headers) \
         SELECT 'order-completed', n::text, gen_random_uuid(), repeat('x', 100 + n % 400), \
         jsonb_build_object('ce_id', gen_random_uuid(), 'ce_type', 'order-completed.v1') FROM generate_series(1, {rows}) AS n"
    ))
    .await;
}

async fn a_backlog_that_takes_too_much_of_the_disk_is_an_alarm_until_it_is_published_though_the_table_stays_large(
    rig: Arc<Rig>,
) {
    const ABOVE: u64 = 2_000_000;
    let shop = rig.shop().await;
    let mut session = shop.database.relay_session().await.unwrap();
    let alarms = Alarms::new();
    let mut backlog = Backlog::new(Some(BacklogAlarms {
        delay: DelayAlarm::new(alarms.clone(), Duration::from_hours(1)),
        size: SizeAlarm::new(alarms.clone(), ABOVE),
    }));
    add(&shop, 1_000).await;
    backlog.look(&mut session).await.unwrap();
    assert!(alarms.active().is_empty(), "{:?}", alarms.active());

    add(&shop, 5_000).await;
    // It estimates only every now and then.
    while alarms.active().is_empty() {
        backlog.look(&mut session).await.unwrap();
    }
    assert_eq!(alarms.active()[0].name, BACKLOG_LARGE);

    shop.execute("DELETE FROM outbox WHERE seq > 1000").await;
    shop.execute("VACUUM outbox").await;
    while !alarms.active().is_empty() {
        backlog.look(&mut session).await.unwrap();
    }
    let table = shop.number("SELECT pg_total_relation_size('outbox')").await;
    assert!(u64::try_from(table).unwrap() > ABOVE, "an alarm on the table would never end: {table}");
}

async fn the_service_shows_it_where_it_shows_all_of_its_alarms(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    add(&shop, 10).await;
    let low =
        [("RELAY__MAX_IN_FLIGHT_BYTES", "1"), ("RELAY__ALARM_ABOVE_BYTES", "2"), ("RELAY__ENABLED", "true")];
    let service = Running::start_with(&shop, &low).await;
    let active = format!(r#"alarm_active{{alarm="{BACKLOG_LARGE}",subject=""}} 1"#);
    while !page(&service).await.contains(&active) {
        tokio::task::yield_now().await;
    }
    let url = format!("http://{}/health/ready", service.management);
    let health = service.client.get(url).send().await.unwrap().text().await.unwrap();
    assert!(health.contains(BACKLOG_LARGE) && health.contains("relay.alarm_above_bytes"), "{health}");
    assert!(value(&page(&service).await, "order_service_outbox_pending_disk_bytes") > 2.0);
    service.stop().await;
}

async fn estimate(shop: &Shop) -> OutboxSize {
    outbox_size::estimate(&shop.database.relay_session().await.unwrap()).await.unwrap()
}

#[expect(clippy::float_cmp, reason = "counts are whole numbers")]
async fn what_waits_is_counted_exactly_where_it_is_little(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    assert_eq!(estimate(&shop).await.pending, 0.0);
    for (rows, all) in [(1, 1.0), (99, 100.0), (700, 800.0)] {
        add(&shop, rows).await;
        let size = estimate(&shop).await;
        let bytes = shop.number("SELECT sum(octet_length(payload))::bigint FROM outbox").await;
        assert_eq!((size.pending, size.pending_bytes), (all, f64::from(u32::try_from(bytes).unwrap())));
    }
    shop.execute("DELETE FROM outbox WHERE seq % 2 = 0").await;
    assert_eq!(estimate(&shop).await.pending, 400.0);
}

async fn a_large_backlog_is_estimated_from_few_of_its_rows_however_old_its_oldest_is(rig: Arc<Rig>) {
    const ROWS: usize = 60_000;
    let shop = rig.shop().await;
    add(&shop, 1).await;
    shop.execute("SELECT setval('outbox_seq_seq', 3000000000)").await;
    add(&shop, ROWS).await;
    let size = estimate(&shop).await;
    let near = |estimated: f64, there: i64| {
        let there = f64::from(u32::try_from(there).unwrap());
        assert!((estimated / there - 1.0).abs() < 0.05, "{estimated} for {there}");
    };
    near(size.pending, shop.number("SELECT count(*) FROM outbox").await);
    near(size.pending_bytes, shop.number("SELECT sum(octet_length(payload))::bigint FROM outbox").await);
    near(size.pending_disk_bytes, shop.number("SELECT pg_total_relation_size('outbox')").await);

    // Its session is gone and has handed in what it has read.
    shop.until_alone().await;
    let read = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'outbox_pkey'";
    let before = shop.number(read).await;
    estimate(&shop).await;
    shop.until_alone().await;
    let read = shop.number(read).await - before;
    assert!(read < 10_000, "{read} rows were read of {ROWS}");
}
