//! One instance publishes, the others stand by; whoever dies, freezes or is wrong about it costs repeats at most.

use crate::cases;
use crate::relaying::{
    RunningRelay, assert_in_order, broker, commit, commit_many, distinct, each_broker, message,
    records_until, relay_settings, sized, until_outbox_has,
};
use crate::rig::{Rig, Shop};
use order_service::outbox::wake_up::WakeUp;
use order_service::storage::outbox::{has_at_least, oldest_age};
use std::sync::Arc;
use std::time::Duration;

cases!(
    one_of_two_relays_publishes_and_the_other_goes_on_at_once_after_a_clean_stop,
    a_relay_that_died_is_followed_when_its_lease_is_over,
    two_relays_at_once_keep_the_order_of_each_key,
    a_relay_that_cannot_renew_its_lease_stands_by_without_alarms,
    a_lease_of_before_the_servers_clock_was_set_back_is_not_waited_for,
    a_lease_whose_row_was_deleted_is_taken,
    whoever_publishes_next_begins_behind_what_is_published_and_not_behind_what_was_on_its_way,
);

const NOBODY: &str = "UPDATE relay_lease SET holder = NULL, until = '-infinity'";

impl RunningRelay {
    pub(crate) async fn until_leads(&self, leads: bool) {
        while self.metrics.leads() != leads {
            tokio::task::yield_now().await;
        }
    }

    /// In the middle of whatever it does; what its producer has on its way is gone.
    pub(crate) async fn die(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

fn start(shop: &Shop, broker: &engines::kafka::MockBroker, lease: &str) -> RunningRelay {
    let settings = relay_settings(shop, broker, &[("RELAY__LEASE", lease)]);
    RunningRelay::start(shop, &settings, WakeUp::default())
}

async fn one_of_two_relays_publishes_and_the_other_goes_on_at_once_after_a_clean_stop(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let first = start(&shop, &broker, "1h");
    first.until_leads(true).await;
    let second = start(&shop, &broker, "1h");
    commit_many(&shop, 200, 7).await;
    until_outbox_has(&shop, 0).await;
    assert!(first.metrics.leads() && !second.metrics.leads());
    assert_eq!((first.metrics.published(), second.metrics.published()), (200, 0));
    // It would have an hour left.
    first.stop().await;
    second.until_leads(true).await;
    commit(&shop, vec![message("k", 200)], WakeUp::default()).await;
    let records = records_until(&broker, |records| records.len() == 201);
    assert_in_order(&records);
    assert_eq!(distinct(&records), 201, "once each");
    second.stop().await;
}

async fn a_relay_that_died_is_followed_when_its_lease_is_over(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let mut number = 0;
    let mut relay = start(&shop, &broker, "500ms");
    for _ in 0..3 {
        relay.until_leads(true).await;
        let next = start(&shop, &broker, "500ms");
        let rows = (number..number + 300).map(|n| message(&format!("key {}", n % 20), n)).collect();
        number += 300;
        commit(&shop, rows, WakeUp::default()).await;
        // With a batch read, or sent, or acknowledged: wherever it is.
        relay.die().await;
        relay = next;
    }
    let records = records_until(&broker, |records| distinct(records) == number);
    shop.balanced(&records).await;
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

async fn two_relays_at_once_keep_the_order_of_each_key(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop_with_book().await, broker());
    let first = start(&shop, &broker, "1h");
    first.until_leads(true).await;
    // The first does not ask again for a third of an hour, so both publish.
    shop.execute(NOBODY).await;
    let second = start(&shop, &broker, "1h");
    second.until_leads(true).await;
    commit_many(&shop, 1000, 20).await;
    until_outbox_has(&shop, 0).await;
    let records = records_until(&broker, |records| distinct(records) == 1000);
    shop.balanced(&records).await;
    assert!(first.metrics.published() > 0 && second.metrics.published() > 0, "both have published");

    // What the one has on its way when it dies is still there for the other.
    each_broker(&broker, |cluster, id| cluster.broker_down(id).unwrap());
    let rows = (1000..1040).map(|n| message(&format!("key {}", n % 20), n)).collect();
    commit(&shop, rows, WakeUp::default()).await;
    for relay in [&first, &second] {
        relay.until_looked().await;
    }
    first.die().await;
    assert_eq!(shop.number("SELECT count(*) FROM outbox").await, 40, "nothing of it was acknowledged");
    each_broker(&broker, |cluster, id| cluster.broker_up(id).unwrap());
    until_outbox_has(&shop, 0).await;
    shop.balanced(&records_until(&broker, |records| distinct(records) == 1040)).await;
    second.stop().await;
}

async fn a_relay_that_cannot_renew_its_lease_stands_by_without_alarms(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let relay = start(&shop, &broker, "1s");
    relay.until_leads(true).await;
    let too_large = sized("bad", 0, 2_000_000);
    commit(&shop, vec![too_large], WakeUp::default()).await;
    while relay.alarms.active().is_empty() {
        tokio::task::yield_now().await;
    }
    shop.execute(
        "UPDATE relay_lease SET holder = gen_random_uuid(), until = clock_timestamp() + interval '1 h', ttl = '1 h'",
    )
    .await;
    relay.until_leads(false).await;
    assert_eq!(relay.alarms.active().len(), 0, "they are those of who publishes");
    commit(&shop, vec![message("k", 1)], WakeUp::default()).await;
    shop.execute(NOBODY).await;
    records_until(&broker, |records| records.len() == 1);
    relay.stop().await;
}

async fn a_lease_of_before_the_servers_clock_was_set_back_is_not_waited_for(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    shop.execute(
        "UPDATE relay_lease SET holder = gen_random_uuid(), until = clock_timestamp() + interval '1 h', ttl = '10 s'",
    )
    .await;
    let relay = start(&shop, &broker, "10s");
    relay.until_leads(true).await;
    relay.stop().await;
}

async fn a_lease_whose_row_was_deleted_is_taken(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    shop.execute("DELETE FROM relay_lease").await;
    let relay = start(&shop, &broker, "300ms");
    relay.until_leads(true).await;
    // It is somebody else's turn to make it, or this one's.
    shop.execute("DELETE FROM relay_lease").await;
    shop.until("SELECT count(*) FROM relay_lease").await;
    commit(&shop, vec![message("k", 1)], WakeUp::default()).await;
    until_outbox_has(&shop, 0).await;
    relay.stop().await;
}

async fn whoever_publishes_next_begins_behind_what_is_published_and_not_behind_what_was_on_its_way(
    rig: Arc<Rig>,
) {
    let (shop, broker) = (rig.shop().await, broker());
    let first = start(&shop, &broker, "300ms");
    commit_many(&shop, 100, 100).await;
    until_outbox_has(&shop, 0).await;
    let published_up_to = "SELECT (published_up_to >= 100)::int::bigint FROM relay_lease";
    shop.until(published_up_to).await;
    // The floor passes it, as it is on its way; nobody acknowledges it.
    let hang = |time| each_broker(&broker, |cluster, id| cluster.broker_round_trip_time(id, time).unwrap());
    hang(Duration::from_secs(30));
    commit(&shop, vec![message("on its way", 100)], WakeUp::default()).await;
    shop.until("SELECT (scan_floor >= 101)::int::bigint FROM relay_lease").await;
    let noted = shop.number("SELECT published_up_to FROM relay_lease").await;
    first.die().await;
    assert_eq!(noted, 100);
    hang(Duration::ZERO);
    // Nobody looks here any more, unless rows are said to have come back.
    shop.execute(
        "INSERT INTO outbox (seq, topic, key, event_id, payload, headers) OVERRIDING SYSTEM VALUE \
         VALUES (50, 'order-completed', 'below', gen_random_uuid(), '50', '{}')",
    )
    .await;
    let second = start(&shop, &broker, "300ms");
    commit(&shop, vec![message("later", 101)], WakeUp::default()).await;
    until_outbox_has(&shop, 1).await;
    assert_eq!(shop.number("SELECT seq FROM outbox").await, 50);
    let oldest = oldest_age(&mut shop.database.session().await.unwrap()).await.unwrap();
    assert_eq!(oldest, None, "what is looked for begins there, too");
    let some_wait = has_at_least(&mut shop.database.session().await.unwrap(), 1).await.unwrap();
    assert!(!some_wait, "and what is counted");
    shop.execute("UPDATE relay_lease SET rescans = rescans + 1").await;
    until_outbox_has(&shop, 0).await;
    records_until(&broker, |records| distinct(records) == 102);
    second.stop().await;
}
