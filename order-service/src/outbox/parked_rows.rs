//! # Parked rows
//!
//! Rows that have their place among those in flight, but are not handed to the producer yet: for a moment, while the next read
//! is sent off, or for longer, as their partition still owes an acknowledgement. They go on lowest first.
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

    /// The keys of those that wait.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.rows.values().map(|row| row.message.key.as_str())
    }

    /// Takes out the rows whose key lands in a partition that is not busy, lowest first.
    pub fn take_free(&mut self, is_busy: impl Fn(&str) -> bool) -> Vec<PendingMessage> {
        let free = self.rows.extract_if(.., |_, row| !is_busy(&row.message.key));
        free.map(|(_, row)| row).collect()
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
    use crate::outbox::message_headers::MessageHeaders;
    use uuid::Uuid;

    fn row(seq: i64, key: &str) -> PendingMessage {
        let (topic, payload) = ("orders".to_owned(), String::new());
        let message = OutboxMessage {
            topic,
            key: key.to_owned(),
            event_id: Uuid::nil(),
            payload,
            headers: MessageHeaders::from_json("{}".to_owned()),
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
        assert_eq!(parked.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(seqs(parked.take_free(|_| true)), Vec::<i64>::new());
        assert_eq!(seqs(parked.take_free(|_| false)), [1, 2]);
        assert!(parked.is_empty());
    }
}
