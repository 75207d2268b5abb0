//! # Deliveries
//!
//! What the data platform received: the consumers' own lines, followed as they are written. A container keeps its log
//! when it is killed and started again, so it is read from its beginning each time, and a line counts once.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use engines::child_process::ChildProcess;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::stack::DEADLINE;

/// A line that hands an event on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Delivery {
    pub(crate) at: DateTime<Utc>,
    container: String,
    partition: i32,
    offset: i64,
    pub(crate) event: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Deliveries {
    /// By their order in time.
    seen: Arc<Mutex<BTreeSet<Delivery>>>,
    events: watch::Sender<HashSet<String>>,
    /// One for each container.
    followers: Arc<Mutex<BTreeMap<String, ChildProcess>>>,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self { seen: Arc::default(), events: watch::Sender::new(HashSet::new()), followers: Arc::default() }
    }
}

#[derive(Deserialize)]
struct Line {
    timestamp: DateTime<Utc>,
    message: String,
    #[serde(rename = "event.id")]
    event: Option<String>,
    #[serde(rename = "kafka.partition")]
    partition: Option<i32>,
    #[serde(rename = "kafka.offset")]
    offset: Option<i64>,
}

impl Deliveries {
    /// Reads what this container says, until it ends; once, however often it is said.
    pub(crate) fn follow(&self, container: &str) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        if followers.get(container).is_some_and(ChildProcess::is_running) {
            return;
        }
        let mut logs = Command::new("docker");
        logs.args(["logs", "--follow", container])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let follower = ChildProcess::spawn(&mut logs).expect("docker starts");
        let output = follower.take_stdout().expect("a pipe");
        followers.insert(container.to_owned(), follower);
        let (deliveries, container) = (self.clone(), container.to_owned());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                deliveries.read(&container, &line);
            }
        });
    }

    fn read(&self, container: &str, line: &str) {
        let Ok(Line {
            timestamp,
            message,
            event: Some(event),
            partition: Some(partition),
            offset: Some(offset),
        }) = serde_json::from_str(line)
        else {
            return;
        };
        if !message.starts_with("consume message=") {
            return;
        }
        let delivery = Delivery {
            at: timestamp,
            container: container.to_owned(),
            partition,
            offset,
            event: event.clone(),
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(delivery);
        self.events.send_if_modified(|events| events.insert(event));
    }

    /// All of them, repeats included, in the order of time.
    pub(crate) fn all(&self) -> Vec<Delivery> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Returns once each of these events was delivered.
    pub(crate) async fn await_all(&self, events: &HashSet<String>) {
        let mut seen = self.events.subscribe();
        let all = timeout(DEADLINE, seen.wait_for(|seen| events.is_subset(seen))).await;
        if all.is_err() {
            let seen = self.events.borrow();
            let missing: Vec<&String> = events.difference(&seen).collect();
            panic!(
                "{} of {} events not delivered within {DEADLINE:?}: {missing:?}",
                missing.len(),
                events.len()
            );
        }
    }

    /// Nobody follows any more.
    pub(crate) fn end(&self) {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
