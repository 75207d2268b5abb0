//! P17: a large backlog, with the lease moving: everything arrives, in order; no more is repeated than was in flight; and neither what
//! the relay reads nor what it remembers grows with the backlog.
//!
//! What is read is counted by the database: a floor that stood still would wade through what was published, with every read. What
//! is remembered is what the process says and what the system sees of it, with a tenth of the backlog and with all of it; and there is
//! much to remember, as the brokers are away at first.
//!
//! `RELAY_BACKLOG=1000000` is a backlog of a million rows. The benchmark `relay` drains that many, too (`drain_memory`).

use super::process::ServiceProcess;
use super::relay_instances::{instance_with, publishing, take_out, until_another_publishes};
use crate::relaying::TOPIC;
use crate::rig::{Case, PATIENCE, Rig, Shop, case};
use engines::kafka::BrokerProcess;
use ledger::Ledger;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

pub(crate) fn cases() -> Vec<Case> {
    // A debug build publishes some thousand rows a second on a busy machine.
    let patience = PATIENCE + Duration::from_millis(u64::try_from(backlog()).unwrap_or(u64::MAX));
    let name = "a_large_backlog_whose_lease_moves_costs_no_more_for_each_row_than_a_small_one";
    vec![
        case(name, a_large_backlog_whose_lease_moves_costs_no_more_for_each_row_than_a_small_one)
            .within(patience),
    ]
}

const PARTITIONS: i32 = 24;
const KEYS: usize = 30_000;
/// Fewer than a read brings.
const MOST_IN_FLIGHT: usize = 1_500;
/// Half of them by SIGKILL.
const MOVES: usize = 4;
/// Entries of the index that a row may cost: it is read once, and once more to delete it; and again by each read that begins at
/// the floor, until that has moved behind it. Twice what was measured; reads that begin at 0 cost 136.
const ENTRIES_OF_A_ROW: usize = 25;
/// What an instance's look at the backlog reads at most, once a second: its sample, and what was deleted since the last note.
const ENTRIES_OF_A_LOOK: usize = 30_000;

fn backlog() -> usize {
    std::env::var("RELAY_BACKLOG").map_or(300_000, |rows| rows.parse().expect("RELAY_BACKLOG is a number"))
}

struct Drained {
    took: Duration,
    repeats: usize,
    entries_read: usize,
    /// The most that any instance ever had resident, in kB.
    resident: usize,
    /// The most that any instance said to have in flight.
    in_flight: usize,
}

async fn a_large_backlog_whose_lease_moves_costs_no_more_for_each_row_than_a_small_one(rig: Arc<Rig>) {
    let few = drain(&rig, backlog() / 10).await;
    let all = drain(&rig, backlog()).await;
    for (rows, drained) in [(backlog() / 10, &few), (backlog(), &all)] {
        let Drained { took, repeats, entries_read, resident, in_flight } = drained;
        let told = format!(
            "{rows} rows, {MOVES} times moved, in {took:.1?}: {repeats} repeated, {entries_read} entries read, {resident} kB \
             resident, {in_flight} in flight"
        );
        drop(writeln!(std::io::stdout(), "{told}"));
    }
    assert!(
        all.resident * 10 <= few.resident * 12,
        "{} kB for a backlog, {} kB for a tenth of it",
        all.resident,
        few.resident
    );
}

async fn drain(rig: &Rig, rows: usize) -> Drained {
    let shop = rig.shop().await;
    let broker = BrokerProcess::start(3).unwrap();
    broker.create_topic(TOPIC, PARTITIONS, 3).unwrap();
    shop.execute(&format!(
        "INSERT INTO outbox (topic, key, event_id, payload, headers) SELECT '{TOPIC}', 'key ' || n % {KEYS}, \
         gen_random_uuid(), n, '{{}}' FROM generate_series(0, {rows} - 1) AS n"
    ))
    .await;
    // Nothing of what is deleted may be removed meanwhile: whoever begins too low wades through it.
    let snapshot = shop.session().await;
    let hold = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM orders";
    snapshot.batch_execute(hold).await.unwrap();
    let began = Instant::now();
    let in_flight = MOST_IN_FLIGHT.to_string();
    let settings = [("RELAY__LEASE", "700ms"), ("RELAY__MAX_IN_FLIGHT", in_flight.as_str())];
    let servers = broker.bootstrap_servers();
    let start = || instance_with(&shop, &servers, &settings);
    let mut watched = Watched::default();
    let mut instances = vec![start().await, start().await];

    // Nothing is acknowledged: as much as may be is in flight, and no more.
    until_noted(&shop, 1, &instances, &mut watched).await;
    broker.all_down().unwrap();
    while watched.in_flight < MOST_IN_FLIGHT / 2 {
        watched.look(&instances).await;
    }
    for _ in 0..5 {
        watched.look(&instances).await;
    }
    broker.all_up().unwrap();
    for turn in 0..MOVES {
        until_noted(&shop, rows * (turn + 1) / (MOVES + 2), &instances, &mut watched).await;
        watched.look(&instances).await;
        let leader = take_out(&mut instances, publishing(&shop).await);
        if turn % 2 == 0 {
            leader.kill().await;
        } else {
            leader.terminate();
            assert!(leader.exited().await.success());
        }
        until_another_publishes(&shop, leader.id()).await;
        instances.push(start().await);
    }
    until_noted(&shop, rows, &instances, &mut watched).await;
    watched.look(&instances).await;
    for instance in instances {
        instance.terminate();
        assert!(instance.exited().await.success());
    }
    let took = began.elapsed();
    drop(snapshot);

    let looks = 2 * (usize::try_from(took.as_secs()).unwrap() + MOVES + 2);
    let most = ENTRIES_OF_A_ROW * rows + ENTRIES_OF_A_LOOK * looks;
    let entries_read = entries_read(&shop).await;
    assert!(entries_read <= most, "{entries_read} entries of the index were read for {rows} rows");
    assert_eq!(shop.number("SELECT count(*) FROM outbox").await, 0);

    let repeats = block_in_place(|| judge(&servers, rows));
    let most = MOVES / 2 * MOST_IN_FLIGHT;
    assert!(repeats <= most, "{repeats} repeats are more than can have been in flight");
    assert!(watched.in_flight <= MOST_IN_FLIGHT, "{} in flight", watched.in_flight);
    Drained { took, repeats, entries_read, resident: watched.resident, in_flight: watched.in_flight }
}

/// By everybody so far: sessions that have gone have handed in what they have read.
async fn entries_read(shop: &Shop) -> usize {
    shop.until_alone().await;
    let scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'outbox'";
    assert_eq!(shop.number(scans).await, 0, "the table is never scanned");
    let read = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'outbox_pkey'";
    usize::try_from(shop.number(read).await).unwrap()
}

/// Until so many rows are published, as the one that publishes notes it; by no look at the outbox, which would count.
async fn until_noted(shop: &Shop, rows: usize, instances: &[ServiceProcess], watched: &mut Watched) {
    let session = shop.session().await;
    let noted = "SELECT published_up_to FROM relay_lease";
    while usize::try_from(session.query_one(noted, &[]).await.unwrap().get::<_, i64>(0)).unwrap() < rows {
        watched.look(instances).await;
    }
}

#[derive(Default)]
struct Watched {
    resident: usize,
    in_flight: usize,
}

impl Watched {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    async fn look(&mut self, instances: &[ServiceProcess]) {
        for instance in instances {
            let status = std::fs::read_to_string(format!("/proc/{}/status", instance.id())).unwrap();
            let highest = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            let kilobytes = highest.trim().trim_end_matches(" kB").parse().unwrap();
            self.resident = self.resident.max(kilobytes);
            let in_flight = instance.metric("order_service_relay_in_flight_events").await as usize;
            self.in_flight = self.in_flight.max(in_flight);
        }
    }
}

/// The ledger's verdict on the topic, which nobody writes to any more; the records beyond the first of each row.
fn judge(servers: &str, rows: usize) -> usize {
    let mut ledger = Ledger::default();
    (0..rows).for_each(|number| ledger.committed(&format!("key {}", number % KEYS), &number.to_string()));
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "ledger").create().unwrap();
    let mut all = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..PARTITIONS {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition, PATIENCE).unwrap();
        assert_eq!(low, 0, "the mock cluster keeps 5 MiB of a partition");
        left += high;
        all.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut silent_since = Instant::now();
    while left > 0 {
        assert!(silent_since.elapsed() < PATIENCE, "{left} records do not come");
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
        silent_since = Instant::now();
        let key = String::from_utf8_lossy(record.key().unwrap());
        let event = record.payload_view::<str>().unwrap().unwrap();
        // A partition's records come in its order, and a key is in one of them.
        ledger.recorded(record.partition(), record.offset(), &key, event);
        ledger.received(event);
        left -= 1;
    }
    let balance = ledger.balance();
    assert!(balance.is_balanced(), "{balance}");
    balance.counts().repeated_records
}
