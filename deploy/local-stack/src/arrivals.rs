//! # Arrivals
//!
//! What reached the data platform, told by the consumers' own lines. An event is known by its whole text, time
//! and order id: ids alone begin anew with each private database, and a kept topic may hold older ones.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::service_log::LogLine;

/// Everything that arrived so far. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Arrivals {
    seen: Arc<Mutex<Seen>>,
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    /// How often each event came, and when first.
    events: HashMap<String, (u64, Instant)>,
}

/// How the arrivals compare with what was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Committed events that arrived.
    pub delivered: usize,
    /// Arrivals of committed events beyond the first.
    pub repeated: u64,
    /// Events that arrived and were never committed.
    pub uncommitted: usize,
    /// When the last of the committed events came for the first time.
    pub last: Option<Instant>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { seen: Arc::default(), count: watch::Sender::new(0) }
    }
}

impl Arrivals {
    /// Takes note of a consumer's line, if it is one of those.
    pub fn note(&self, line: &LogLine) {
        let Some(event) = line.delivered() else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.events.entry(event.to_owned()).or_insert((0, Instant::now())).0 += 1;
        drop(seen);
        self.count.send_modify(|count| *count += 1);
    }

    /// Returns true once every one of `committed` arrived, false when that takes longer than `patience`.
    pub async fn complete(&self, committed: &HashSet<String>, patience: Duration) -> bool {
        let mut count = self.count.subscribe();
        let all = count.wait_for(|_| self.compare(committed).delivered == committed.len());
        tokio::time::timeout(patience, all).await.is_ok()
    }

    /// What arrived so far, against what was committed.
    pub fn compare(&self, committed: &HashSet<String>) -> Comparison {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let arrived = || seen.events.iter().filter(|(event, _)| committed.contains(*event));
        Comparison {
            delivered: arrived().count(),
            repeated: arrived().map(|(_, (times, _))| times - 1).sum(),
            uncommitted: seen.events.len() - arrived().count(),
            last: arrived().map(|(_, (_, first))| *first).max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrives(arrivals: &Arrivals, event: &str) {
        arrivals.note(&LogLine::read(&format!("consume message={event}")));
    }

    #[tokio::test]
    async fn repeats_and_strangers_are_told_apart() {
        let arrivals = Arrivals::default();
        let committed = HashSet::from(["a".to_owned(), "b".to_owned()]);
        assert!(!arrivals.complete(&committed, Duration::ZERO).await);
        for event in ["a", "b", "a", "never committed"] {
            arrives(&arrivals, event);
        }
        arrivals.note(&LogLine::read("order 15 completed"));
        assert!(arrivals.complete(&committed, Duration::ZERO).await);
        let compared = arrivals.compare(&committed);
        assert_eq!((compared.delivered, compared.repeated, compared.uncommitted), (2, 1, 1));
    }
}
