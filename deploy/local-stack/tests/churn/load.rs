//! # The load
//!
//! Events at a steady pace, which begin before the consumers do, and end after the last fault.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::events::{Event, EventProducer};

/// Events in a second.
pub(crate) const RATE: u32 = 200;
/// So that a key has events waiting behind one another whenever a partition has stood still for a moment.
const KEYS: i64 = 300;
/// How long the load goes on after the last fault: what is produced then finds the group at rest.
const AFTERMATH: Duration = Duration::from_secs(10);

pub(crate) struct Load(JoinHandle<Vec<Event>>);

impl Load {
    pub(crate) fn start(servers: String, topic: String, churn_ends_at: Instant) -> Self {
        Self(tokio::task::spawn_blocking(move || produce(&servers, &topic, churn_ends_at + AFTERMATH)))
    }

    /// All of it, in the order in which it was sent.
    pub(crate) async fn ended(self) -> Vec<Event> {
        self.0.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn produce(servers: &str, topic: &str, until: Instant) -> Vec<Event> {
    let mut producer = EventProducer::new(servers, topic, KEYS);
    let began = Instant::now();
    let mut due = began;
    while due < until {
        producer.poll(due.saturating_duration_since(Instant::now()));
        let Some(early) = due.checked_duration_since(Instant::now()) else {
            producer.send();
            due =
                began + Duration::from_secs(1) / RATE * u32::try_from(producer.sent()).expect("not so many");
            continue;
        };
        std::thread::sleep(early);
    }
    producer.acknowledged()
}
