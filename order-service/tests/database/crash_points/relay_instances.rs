//! P3, P9, and P17 in small: several instances as processes of their own; the one that publishes is killed, stopped or frozen again and
//! again while rows are committed.
//!
//! `RELAY_KILLS=25` makes more of it than three; a case has a minute.

use super::process::ServiceProcess;
use crate::cases;
use crate::relaying::{
    broker, commit_to, distinct, each_broker, message, number, records_until, until_outbox_has,
};
use crate::rig::{Rig, Shop};
use engines::kafka::MockBroker;
use ledger::Ledger;
use order_service::outbox::wake_up::WakeUp;
use rdkafka::message::{Message, OwnedMessage};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

cases!(
    the_publishing_one_of_three_instances_is_killed_again_and_again,
    the_publishing_one_of_two_instances_is_stopped_in_mid_batch,
    a_publishing_instance_that_is_frozen_behind_its_lease_and_wakes_repeats_at_most,
    a_backlog_whose_lease_moves_is_published_in_the_order_of_each_key,
);

const KEYS: usize = 40;
const ROWS: usize = 50;
const MOST_WAITING: i64 = 500;
const SHORT: &str = "700ms";
/// The most that a kill can repeat. Less than there are keys, of each of which one is on its way, or those would bound it.
const IN_FLIGHT: usize = 20;
/// Nobody waits for its end: what a slow machine loses to it would be repeats.
const LONG: &str = "1h";

/// Commits rows until it is told to stop, as fast as they are published; how many.
struct Committing {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

impl Committing {
    async fn begin(shop: &Shop) -> Self {
        let session = shop.session().await;
        let stop = Arc::new(AtomicBool::new(false));
        let (database, told) = (shop.database.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let mut number = 0;
            while !told.load(Ordering::Relaxed) {
                let waiting = "SELECT count(*) FROM outbox";
                while session.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > MOST_WAITING {
                    tokio::task::yield_now().await;
                }
                let row = |number: usize| message(&format!("key {}", number % KEYS), number);
                commit_to(&database, (number..number + ROWS).map(row).collect(), WakeUp::default()).await;
                number += ROWS;
            }
            number
        });
        Self { stop, task }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// The process that publishes.
pub(super) async fn publishing(shop: &Shop) -> i32 {
    let session = shop.session().await;
    loop {
        let holder =
            "SELECT split_part(holder_name, ' ', 2)::int FROM relay_lease WHERE until > clock_timestamp()";
        if let Some(row) = session.query_opt(holder, &[]).await.unwrap() {
            return row.get(0);
        }
        tokio::task::yield_now().await;
    }
}

/// Until another than this one publishes; how long that took.
pub(super) async fn until_another_publishes(shop: &Shop, before: i32) -> Duration {
    let since = Instant::now();
    while publishing(shop).await == before {
        tokio::task::yield_now().await;
    }
    since.elapsed()
}

/// Until the lowest row that waits is so much higher.
async fn until_published(shop: &Shop, more: i64) {
    let lowest = "SELECT coalesce((SELECT min(seq) FROM outbox), (SELECT last_value FROM outbox_seq_seq))";
    let goal = shop.number(lowest).await + more;
    shop.until(&format!("SELECT (({lowest}) >= {goal})::int::bigint")).await;
}

async fn instance(shop: &Shop, broker: &MockBroker, lease: &str) -> ServiceProcess {
    instance_with(shop, &broker.bootstrap_servers(), &[("RELAY__LEASE", lease)]).await
}

/// Of those that have little in flight.
async fn small_instance(shop: &Shop, broker: &MockBroker) -> ServiceProcess {
    let in_flight = IN_FLIGHT.to_string();
    let settings = [("RELAY__LEASE", SHORT), ("RELAY__MAX_IN_FLIGHT", in_flight.as_str())];
    instance_with(shop, &broker.bootstrap_servers(), &settings).await
}

/// One that answers late, so that there is always as much on its way as there may be: it has that when its sender dies.
fn slow_broker() -> MockBroker {
    let broker = broker();
    each_broker(&broker, |cluster, id| {
        cluster.broker_round_trip_time(id, Duration::from_millis(50)).unwrap();
    });
    broker
}

/// As much as was in flight each time, and once more: a slow machine may lose its lease without being killed.
fn assert_repeated_at_most(repeats: usize, times: usize) {
    let most = IN_FLIGHT * (times + 1);
    assert!(repeats <= most, "{repeats} repeats are more than can have been in flight");
}

pub(super) async fn instance_with(shop: &Shop, servers: &str, more: &[(&str, &str)]) -> ServiceProcess {
    let settings = [&[("KAFKA__BOOTSTRAP_SERVERS", servers)], more].concat();
    ServiceProcess::start_with(shop, &settings).await
}

pub(super) fn take_out(instances: &mut Vec<ServiceProcess>, id: i32) -> ServiceProcess {
    let place = instances.iter().position(|instance| instance.id() == id).expect("one of ours publishes");
    instances.remove(place)
}

/// Everything was published, in the order of each key; the records beyond the first of each row.
async fn balance(shop: &Shop, broker: &MockBroker, rows: usize, keys: usize) -> usize {
    until_outbox_has(shop, 0).await;
    let records = records_until(broker, |records| records.len() >= rows && distinct(records) == rows);
    let mut ledger = Ledger::default();
    (0..rows).for_each(|number| ledger.committed(&format!("key {}", number % keys), &number.to_string()));
    for record in &records {
        let key = String::from_utf8_lossy(record.key().unwrap()).into_owned();
        ledger.recorded(record.partition(), record.offset(), &key, &number(record).to_string());
    }
    // The topic is the last station here; each partition's order is the order of arrival.
    let mut by_place: Vec<&OwnedMessage> = records.iter().collect();
    by_place.sort_by_key(|record| (record.partition(), record.offset()));
    for record in by_place {
        ledger.received(&number(record).to_string());
    }
    let balance = ledger.balance();
    assert!(balance.is_balanced(), "{balance}");
    records.len() - rows
}

fn times() -> usize {
    std::env::var("RELAY_KILLS").map_or(3, |times| times.parse().expect("RELAY_KILLS is a number"))
}

async fn the_publishing_one_of_three_instances_is_killed_again_and_again(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, slow_broker());
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(small_instance(&shop, &broker).await);
    }
    let committing = Committing::begin(&shop).await;
    let mut takeovers = Vec::new();
    for _ in 0..times() {
        until_published(&shop, 200).await;
        let killed = take_out(&mut instances, publishing(&shop).await);
        killed.kill().await;
        takeovers.push(until_another_publishes(&shop, killed.id()).await);
        instances.push(small_instance(&shop, &broker).await);
    }
    let rows = committing.end().await;
    let repeats = balance(&shop, &broker, rows, KEYS).await;
    assert_repeated_at_most(repeats, takeovers.len());
    takeovers.sort();
    let (median, longest) = (takeovers[takeovers.len() / 2], takeovers[takeovers.len() - 1]);
    let told = format!(
        "{rows} rows, {} times killed: none lost, {repeats} repeated; taken over after {median:?}, at most {longest:?}",
        takeovers.len()
    );
    drop(writeln!(std::io::stdout(), "{told}"));
}

async fn the_publishing_one_of_two_instances_is_stopped_in_mid_batch(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let mut instances = vec![instance(&shop, &broker, LONG).await, instance(&shop, &broker, LONG).await];
    let committing = Committing::begin(&shop).await;
    for _ in 0..times() {
        until_published(&shop, 200).await;
        let stopped = take_out(&mut instances, publishing(&shop).await);
        stopped.terminate();
        assert!(stopped.exited().await.success());
        until_another_publishes(&shop, stopped.id()).await;
        instances.push(instance(&shop, &broker, LONG).await);
    }
    let rows = committing.end().await;
    assert_eq!(balance(&shop, &broker, rows, KEYS).await, 0, "what was acknowledged at the stop was deleted");
}

async fn a_publishing_instance_that_is_frozen_behind_its_lease_and_wakes_repeats_at_most(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, slow_broker());
    let instances = [small_instance(&shop, &broker).await, small_instance(&shop, &broker).await];
    let committing = Committing::begin(&shop).await;
    for _ in 0..times() {
        until_published(&shop, 200).await;
        let frozen = publishing(&shop).await;
        let frozen = instances.iter().find(|instance| instance.id() == frozen).unwrap();
        frozen.freeze();
        until_another_publishes(&shop, frozen.id()).await;
        until_published(&shop, 200).await;
        frozen.thaw();
    }
    let rows = committing.end().await;
    let repeats = balance(&shop, &broker, rows, KEYS).await;
    assert_repeated_at_most(repeats, times());
}

/// Stopped, killed and frozen in turn, in the middle of full reads that overlap.
async fn a_backlog_whose_lease_moves_is_published_in_the_order_of_each_key(rig: Arc<Rig>) {
    const BACKLOG: usize = 20_000;
    const MANY_KEYS: usize = 3_000;
    const MORE_IN_FLIGHT: usize = 200;
    let (shop, broker) = (rig.shop().await, broker());
    let in_flight = MORE_IN_FLIGHT.to_string();
    // Slow enough that there is a middle: so many rows for each wait of the producer.
    let settings = [
        ("RELAY__LEASE", SHORT),
        ("RELAY__BATCH_ROWS", "40"),
        ("RELAY__MAX_IN_FLIGHT", in_flight.as_str()),
        ("KAFKA__PROPERTIES__LINGER__MS", "50"),
    ];
    let servers = broker.bootstrap_servers();
    let start = || instance_with(&shop, &servers, &settings);
    let mut instances = vec![start().await, start().await];
    shop.execute(&format!(
        "INSERT INTO outbox (topic, key, event_id, payload, headers) SELECT 'order-completed', 'key ' || n % {MANY_KEYS}, \
         gen_random_uuid(), n, '{{}}' FROM generate_series(0, {BACKLOG} - 1) AS n"
    ))
    .await;
    let mut most = 0;
    for turn in 0..3 {
        until_published(&shop, 2_000).await;
        let leader = take_out(&mut instances, publishing(&shop).await);
        let id = leader.id();
        match turn {
            0 => {
                leader.terminate();
                assert!(leader.exited().await.success());
            }
            1 => {
                leader.kill().await;
                most += MORE_IN_FLIGHT;
            }
            _ => {
                leader.freeze();
                until_another_publishes(&shop, id).await;
                until_published(&shop, 200).await;
                leader.thaw();
                most += MORE_IN_FLIGHT;
                instances.push(leader);
                continue;
            }
        }
        until_another_publishes(&shop, id).await;
        instances.push(start().await);
    }
    let repeats = balance(&shop, &broker, BACKLOG, MANY_KEYS).await;
    assert!(repeats <= most, "{repeats} repeats are more than can have been in flight");
}
