//! # Receipts
//!
//! What the data platform received: the consumers' own lines, in the order of the times that they bear. The order in which we
//! read them would say how busy our own threads are.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use local_stack::service_log::{Level, LogLine};
use tokio::sync::watch;

use crate::events::Event;

/// A line that hands an event on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Receipt {
    pub(crate) at: DateTime<Utc>,
    pub(crate) event: String,
    pub(crate) member: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Receipts {
    all: Arc<Mutex<Vec<Receipt>>>,
    events: watch::Sender<HashSet<String>>,
}

impl Default for Receipts {
    fn default() -> Self {
        Self { all: Arc::default(), events: watch::Sender::new(HashSet::new()) }
    }
}

impl Receipts {
    /// Takes note of a consumer's line, if it is one of those.
    pub(crate) fn read(&self, member: &str, line: &LogLine) {
        if line.level == Level::Error {
            println!("             {member} says: {}", line.message);
        }
        let (Some(_), Some(event), Some(at)) = (line.delivered(), &line.event, line.at) else { return };
        let receipt = Receipt { at, event: event.clone(), member: member.to_owned() };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(receipt);
        self.events.send_if_modified(|events| events.insert(event.clone()));
    }

    /// True once each of these events was delivered, false if that takes too long.
    pub(crate) async fn await_all(&self, events: &[Event], patience: Duration) -> bool {
        let mut seen = self.events.subscribe();
        let all = seen.wait_for(|seen| events.iter().all(|event| seen.contains(&event.id)));
        tokio::time::timeout(patience, all).await.is_ok()
    }

    /// All of them, repeats included, in the order of time.
    pub(crate) fn all(&self) -> Vec<Receipt> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort();
        all
    }
}
