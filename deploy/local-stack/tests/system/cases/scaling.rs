//! # Consumers that come and go in good order
//!
//! From one to six, back to two, and both replaced as a deployment does it, always with work at hand: the load keeps so many
//! events ahead of what was delivered, several of each key. The ledger judges.
//!
//! It is played once, and two cases judge it. How many repeats are allowed: none. Whoever hands partitions back starts nothing more of them but what others have overtaken,
//! waits for these calls (0.1 s each, of the 10 s that `delivery.drain_timeout` grants), and commits before it lets go; a stop does the
//! same. Only a member that the group takes for dead leaves something to be repeated, and here nobody gets that far. The mock cluster
//! refuses such a commit while others join, as Kafka does not: that case needs a real one.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{Balance, Ledger};
use local_stack::service_log::LogLine;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinHandle;

use crate::events::{Event, EventProducer};
use crate::heard::{DEADLINE, Heard};
use crate::scene::{Consumer, PARTITIONS, Scene};

const KEYS: i64 = 30;
/// Some for each key, so that its order is at stake.
const AHEAD: usize = 200;
/// What each member delivers before the next change, so that it is in the middle of its work.
const EACH: usize = 20;

/// What came of it. Whichever case comes first plays it, and the other one waits.
static PLAYED: OnceCell<Played> = OnceCell::const_new();

struct Played {
    balance: Balance,
    /// How long an event waited for its first delivery at most.
    longest_wait: TimeDelta,
}

pub(crate) async fn keeps_every_key_in_order(scene: Scene) {
    let Played { balance, longest_wait } = PLAYED.get_or_init(|| up_and_down_and_replaced(scene)).await;
    assert!(balance.is_balanced(), "{balance}");
    let patience = TimeDelta::from_std(DEADLINE).expect("a minute");
    assert!(*longest_wait < patience, "no partition stood still: {longest_wait}");
}

pub(crate) async fn repeats_nothing(scene: Scene) {
    let Played { balance, .. } = PLAYED.get_or_init(|| up_and_down_and_replaced(scene)).await;
    let repeated = balance.counts().repeated_receipts;
    assert_eq!(repeated, 0, "nobody was killed, so nothing is repeated: {balance}");
}

async fn up_and_down_and_replaced(scene: Scene) -> Played {
    let load = Load::start(&scene);
    let mut number = 0;
    let mut another = || {
        number += 1;
        let session = ("KAFKA__SESSION_TIMEOUT", scene.kafka().long_session());
        scene.consumer(&format!("consumer-{number}"), &[("SINK__LOG__WAIT", "100ms"), session])
    };
    let mut members = vec![another()];
    share_the_work(&scene, &members).await;
    members.extend((2..=6).map(|_| another()));
    share_the_work(&scene, &members).await;
    stop(members.split_off(2)).await;
    share_the_work(&scene, &members).await;
    for _ in 0..members.len() {
        members.push(another());
        share_the_work(&scene, &members).await;
        stop(vec![members.remove(0)]).await;
        share_the_work(&scene, &members).await;
    }
    let events = load.end().await;
    let all: HashSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    scene.everybody.until("every event is delivered", |lines| delivered(lines).is_superset(&all)).await;
    stop(members).await;
    judge(&events, receipts(&scene.everybody))
}

/// Returns once each of them has its share of the partitions, and has delivered some since.
async fn share_the_work(scene: &Scene, members: &[Consumer]) {
    // Of one, two, three and six.
    let share = PARTITIONS as usize / members.len();
    let all_own = |_: &[LogLine]| members.iter().all(|member| member.heard.last(owned) == Some(share));
    scene.everybody.until("each has its share", all_own).await;
    let before: Vec<usize> = members.iter().map(|member| member.heard.delivered().len()).collect();
    let all_work = |_: &[LogLine]| {
        members.iter().zip(&before).all(|(member, before)| member.heard.delivered().len() >= before + EACH)
    };
    scene.everybody.until("each is in the middle of its work", all_work).await;
}

/// How many partitions it owns from now on, if the line says so.
fn owned(line: &LogLine) -> Option<usize> {
    let (_, rest) = line.message.split_once("owning ")?;
    rest.split_once(" partitions of ")?.0.parse().ok()
}

async fn stop(members: Vec<Consumer>) {
    let stops = members.into_iter().map(|member| tokio::spawn(async move { member.process.stop().await }));
    for stop in stops.collect::<Vec<_>>() {
        let status = stop.await.expect("no panic");
        assert!(status.success(), "SIGTERM ends it with 0: {status}");
    }
}

/// An event that a consumer hands on.
fn receipt(line: &LogLine) -> Option<(DateTime<Utc>, &str)> {
    line.delivered()?;
    Some((line.at?, line.event.as_deref()?))
}

fn delivered(lines: &[LogLine]) -> HashSet<&str> {
    lines.iter().filter_map(receipt).map(|(_, event)| event).collect()
}

/// In the order of the times that they bear; that in which their lines were read would say how busy this program is.
fn receipts(everybody: &Heard) -> Vec<(DateTime<Utc>, String)> {
    let lines = everybody.after(0);
    let mut receipts: Vec<_> =
        lines.iter().filter_map(receipt).map(|(at, event)| (at, event.to_owned())).collect();
    receipts.sort();
    receipts
}

fn judge(events: &[Event], receipts: Vec<(DateTime<Utc>, String)>) -> Played {
    let mut ledger = Ledger::default();
    for Event { id, key, partition, offset, .. } in events {
        ledger.committed(key, id);
        ledger.recorded(*partition, *offset, key, id);
    }
    let mut first: HashMap<String, DateTime<Utc>> = HashMap::new();
    for (at, event) in receipts {
        ledger.received(&event);
        first.entry(event).or_insert(at);
    }
    let longest_wait = events.iter().map(|event| first[&event.id] - event.at).max().unwrap_or_default();
    Played { balance: ledger.balance(), longest_wait }
}

/// Events that are always some ahead of what was delivered.
struct Load {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Vec<Event>>,
}

impl Load {
    fn start(scene: &Scene) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let everybody = scene.everybody.clone();
        let mut producer = EventProducer::new(&scene.kafka().bootstrap_servers(), &scene.topic, KEYS);
        let running = tokio::spawn(async move {
            let (mut lines_read, mut taken) = (0, HashSet::new());
            loop {
                while producer.sent() < taken.len() + AHEAD {
                    producer.send();
                }
                producer.poll(Duration::ZERO);
                tokio::select! {
                    () = everybody.more_than(lines_read) => {}
                    _ = &mut stopped => break,
                }
                let lines = everybody.after(lines_read);
                lines_read += lines.len();
                taken.extend(lines.iter().filter_map(receipt).map(|(_, event)| event.to_owned()));
            }
            let acknowledged = tokio::task::spawn_blocking(|| producer.acknowledged());
            acknowledged.await.expect("no panic")
        });
        Self { stop, running }
    }

    /// All that were sent, in their order.
    async fn end(self) -> Vec<Event> {
        self.stop.send(()).expect("it runs");
        self.running.await.expect("no panic")
    }
}
