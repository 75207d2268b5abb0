//! The alarm on the age of the oldest pending event.

use crate::cases;
use crate::rig::Rig;
use order_service::outbox::backlog::{Backlog, BacklogAlarms};
use order_service::outbox::delay_alarm::{DelayAlarm, PUBLISHING_DELAYED};
use order_service::outbox::size_alarm::SizeAlarm;
use service_chassis::alarms::Alarms;
use std::sync::Arc;
use std::time::Duration;

cases!(an_event_that_waits_for_too_long_is_an_alarm_until_it_is_published);

const TWO_EVENTS: &str = "
    INSERT INTO outbox (topic, key, event_id, payload, headers, created_at)
    SELECT 'orders', '1', gen_random_uuid(), '{}', '{}', clock_timestamp() - make_interval(mins => age)
    FROM unnest(ARRAY[10, 1]) AS age";

async fn an_event_that_waits_for_too_long_is_an_alarm_until_it_is_published(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    let mut session = shop.database.relay_session().await.unwrap();
    let alarms = Alarms::new();
    let mut backlog = Backlog::new(Some(BacklogAlarms {
        delay: DelayAlarm::new(alarms.clone(), Duration::from_mins(5)),
        size: SizeAlarm::new(alarms.clone(), u64::MAX),
    }));
    backlog.look(&mut session).await.unwrap();
    assert!(alarms.active().is_empty(), "nothing waits");

    shop.execute(TWO_EVENTS).await;
    backlog.look(&mut session).await.unwrap();
    let active = alarms.active();
    assert_eq!(active.iter().map(|alarm| alarm.name).collect::<Vec<&str>>(), [PUBLISHING_DELAYED]);
    assert!(active[0].detail.contains("has waited for 60"), "{active:?}");

    shop.execute("DELETE FROM outbox WHERE seq = (SELECT min(seq) FROM outbox)").await;
    backlog.look(&mut session).await.unwrap();
    assert!(alarms.active().is_empty(), "the other one is young");
}
