//! P7: a record is in Kafka and its row is still there, as the acknowledgement is lost, or the delete. Then SIGKILL. The same event
//! comes again under the same id, and of others nothing does.

use super::process::ServiceProcess;
use super::relay_instances::instance_with;
use crate::cases;
use crate::relaying::{broker, commit, each_broker, message, records_until, until_outbox_has};
use crate::rig::{Rig, Shop};
use engines::kafka::MockBroker;
use ledger::Ledger;
use order_service::outbox::message::OutboxMessage;
use order_service::outbox::wake_up::WakeUp;
use rdkafka::message::{Headers, Message, OwnedMessage};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

cases!(
    what_was_appended_and_whose_acknowledgement_is_lost_is_sent_again_under_the_same_id,
    what_was_acknowledged_and_is_not_deleted_is_sent_again_under_the_same_id,
);

const ROWS: usize = 30;

/// What was committed so far.
#[derive(Default)]
struct Committed {
    ledger: Ledger,
    events: usize,
}

impl Committed {
    /// Another thirty, each of a key of its own, in one transaction.
    async fn more(&mut self, shop: &Shop) {
        let row = |n: usize| message(&format!("key {n}"), n);
        let rows: Vec<OutboxMessage> = (self.events..self.events + ROWS).map(row).collect();
        for row in &rows {
            self.ledger.committed(&row.key, &row.event_id.to_string());
        }
        self.events += ROWS;
        commit(shop, rows, WakeUp::default()).await;
    }

    /// The ledger's verdict on the topic; the records beyond the first of each event.
    fn judge(mut self, records: &[OwnedMessage]) -> usize {
        for record in records {
            let key = String::from_utf8_lossy(record.key().unwrap());
            self.ledger.recorded(record.partition(), record.offset(), &key, &event_of(record));
            self.ledger.received(&event_of(record));
        }
        let balance = self.ledger.balance();
        assert!(balance.is_balanced(), "{balance}");
        balance.counts().repeated_records
    }
}

fn event_of(record: &OwnedMessage) -> String {
    let mut headers = record.headers().unwrap().iter();
    let id = headers.find(|header| header.key == "ce_id").unwrap().value.unwrap();
    String::from_utf8(id.to_vec()).unwrap()
}

fn distinct_events(records: &[OwnedMessage]) -> usize {
    records.iter().map(event_of).collect::<BTreeSet<_>>().len()
}

async fn instance(shop: &Shop, broker: &MockBroker) -> ServiceProcess {
    instance_with(shop, &broker.bootstrap_servers(), &[("RELAY__LEASE", "700ms")]).await
}

/// The relay has been through its cycle often enough to delete what it takes for done.
async fn until_it_has_gone_on(instance: &ServiceProcess) {
    let looks = "order_service_relay_scan_floor_looks_total";
    let enough = instance.metric(looks).await + 3.0;
    while instance.metric(looks).await < enough {
        tokio::task::yield_now().await;
    }
}

/// The next instance sends what is left in the outbox, and nothing else.
async fn is_repeated(shop: &Shop, broker: &MockBroker, committed: Committed, left: i64) {
    let next = instance(shop, broker).await;
    until_outbox_has(shop, 0).await;
    let all = committed.events + usize::try_from(left).unwrap();
    let records = records_until(broker, |records| records.len() >= all);
    next.terminate();
    assert!(next.exited().await.success());
    assert_eq!(committed.judge(&records), ROWS, "what was in flight, and nothing else");
}

async fn what_was_appended_and_whose_acknowledgement_is_lost_is_sent_again_under_the_same_id(rig: Arc<Rig>) {
    let (shop, broker, mut committed) = (rig.shop().await, broker(), Committed::default());
    let first = instance(&shop, &broker).await;
    committed.more(&shop).await;
    until_outbox_has(&shop, 0).await;
    // From here on an answer takes longer than the case may.
    let answer_after =
        |time| each_broker(&broker, |cluster, id| cluster.broker_round_trip_time(id, time).unwrap());
    answer_after(Duration::from_mins(2));
    committed.more(&shop).await;
    until_it_has_gone_on(&first).await;
    let left = shop.number("SELECT count(*) FROM outbox").await;
    first.kill().await;
    answer_after(Duration::ZERO);
    assert_eq!(left, 30, "nothing was acknowledged");
    records_until(&broker, |records| distinct_events(records) == committed.events);
    is_repeated(&shop, &broker, committed, left).await;
}

async fn what_was_acknowledged_and_is_not_deleted_is_sent_again_under_the_same_id(rig: Arc<Rig>) {
    let (shop, broker, mut committed) = (rig.shop().await, broker(), Committed::default());
    let first = instance(&shop, &broker).await;
    committed.more(&shop).await;
    until_outbox_has(&shop, 0).await;
    shop.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER keep BEFORE DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    .await;
    committed.more(&shop).await;
    while first.metric("order_service_relay_published_events_total").await < 60.0 {
        tokio::task::yield_now().await;
    }
    until_it_has_gone_on(&first).await;
    first.kill().await;
    shop.execute("DROP TRIGGER keep ON outbox").await;
    let left = shop.number("SELECT count(*) FROM outbox").await;
    assert_eq!(left, 30);
    is_repeated(&shop, &broker, committed, left).await;
}
