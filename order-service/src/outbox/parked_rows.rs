//! # Parked rows
//!
//! Rows that have their place among those in flight, but are not handed to the producer yet, as their partition still
//! owes the acknowledgement of an earlier cycle. They go on when it has come, lowest first.
//!
//! Pure data: no clock, no Kafka handle, no lock.

use super::message::PendingMessage;
use std::collections::BTreeMap;

/// By their seq.
#[derive(Debug, Default)]
pub struct ParkedRows {
    rows: BTreeMap<i64, PendingMessage>,
}

impl ParkedRows {
    /// The row waits.
    pub fn park(&mut self, row: PendingMessage) {
        self.rows.insert(row.seq, row);
    }

    /// Whether the row of this seq waits.
    pub fn contains(&self, seq: i64) -> bool {
        self.rows.contains_key(&seq)
    }

    /// Takes out the rows whose key lands in a partition that is not busy, lowest first.
    pub fn take_free(&mut self, is_busy: impl Fn(&str) -> bool) -> Vec<PendingMessage> {
        let free = self.rows.extract_if(.., |_, row| !is_busy(&row.message.key));
        free.map(|(_, row)| row).collect()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets them, as their rows are still in the table; which they were.
    pub fn take_all(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.rows).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::message::OutboxMessage;
    use uuid::Uuid;

    fn row(seq: i64, key: &str) -> PendingMessage {
        let (topic, payload) = ("orders".to_owned(), String::new());
        let message = OutboxMessage {
            topic,
            key: key.to_owned(),
            event_id: Uuid::nil(),
            payload,
            headers: BTreeMap::new(),
        };
        PendingMessage { seq, message }
    }

    #[test]
    fn rows_wait_for_their_own_partition_and_go_on_lowest_first() {
        let mut parked = ParkedRows::default();
        for (seq, key) in [(3, "b"), (1, "a"), (4, "b"), (2, "c")] {
            parked.park(row(seq, key));
        }
        let seqs = |rows: Vec<PendingMessage>| rows.iter().map(|row| row.seq).collect::<Vec<_>>();
        assert_eq!(seqs(parked.take_free(|key| key != "b")), [3, 4]);
        assert!(parked.contains(1) && !parked.contains(3));
        assert_eq!(seqs(parked.take_free(|_| true)), Vec::<i64>::new());
        assert_eq!(seqs(parked.take_free(|_| false)), [1, 2]);
        assert!(parked.is_empty());
    }
}
