//! # In flight
//!
//! What the relay has sent and not yet seen acknowledged. It answers one question: *may this row be sent now?*
//! At most one event of a key is on its way, so first deliveries of a key arrive in the order of their commits;
//! rows and bytes are bounded, so that an unreachable Kafka costs a fixed amount of memory.
//!
//! Pure data: no clock, no Kafka handle, no lock.

use std::collections::{HashMap, HashSet};

/// Whether a row may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Granted,
    /// An earlier event of its key is not acknowledged yet.
    KeyBusy,
    /// As much as is allowed is on its way.
    Full,
}

/// The most that may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Events.
    pub events: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

#[derive(Debug)]
struct Sent {
    key: String,
    bytes: usize,
}

/// The events that are on their way.
#[derive(Debug)]
pub struct InFlight {
    bound: Bound,
    sent: HashMap<i64, Sent>,
    keys: HashSet<String>,
    bytes: usize,
}

impl InFlight {
    /// Nothing is on its way.
    pub fn new(bound: Bound) -> Self {
        Self { bound, sent: HashMap::new(), keys: HashSet::new(), bytes: 0 }
    }

    /// Whether a row with this key may be sent now. One event is always allowed, whatever its size.
    pub fn admit(&self, key: &str, bytes: usize) -> Admission {
        if self.keys.contains(key) {
            Admission::KeyBusy
        } else if self.is_full() || (!self.sent.is_empty() && self.bytes + bytes > self.bound.bytes) {
            Admission::Full
        } else {
            Admission::Granted
        }
    }

    /// The row was sent.
    pub fn start(&mut self, seq: i64, key: &str, bytes: usize) {
        self.bytes += bytes;
        self.keys.insert(key.to_owned());
        self.sent.insert(seq, Sent { key: key.to_owned(), bytes });
    }

    /// The row was acknowledged or refused; its key may be sent again. A row that is not on its way is ignored.
    pub fn finish(&mut self, seq: i64) {
        if let Some(Sent { key, bytes }) = self.sent.remove(&seq) {
            self.keys.remove(&key);
            self.bytes -= bytes;
        }
    }

    /// The rows that are on their way.
    pub fn seqs(&self) -> Vec<i64> {
        self.seqs_above(i64::MIN)
    }

    /// Those of a higher seq than this.
    pub fn seqs_above(&self, floor: i64) -> Vec<i64> {
        self.sent.keys().copied().filter(|seq| *seq > floor).collect()
    }

    /// The key of a row that is on its way.
    pub fn key_of(&self, seq: i64) -> Option<&str> {
        self.sent.get(&seq).map(|sent| sent.key.as_str())
    }

    /// The keys of the rows that are on their way, each with its row.
    pub fn keys(&self) -> impl Iterator<Item = (i64, &str)> {
        self.sent.iter().map(|(seq, sent)| (*seq, sent.key.as_str()))
    }

    /// How many are on their way.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether nothing more may be sent.
    pub fn is_full(&self) -> bool {
        self.sent.len() >= self.bound.events || self.bytes >= self.bound.bytes
    }

    /// Forgets all but these: the producer that had them is gone, their rows are still in the table.
    pub fn retain(&mut self, seqs: &[i64]) {
        let kept: HashSet<i64> = seqs.iter().copied().collect();
        let gone: Vec<i64> = self.sent.keys().filter(|seq| !kept.contains(seq)).copied().collect();
        for seq in gone {
            self.finish(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_waits_for_its_earlier_event_and_others_do_not() {
        let mut in_flight = InFlight::new(Bound { events: 10, bytes: 1000 });
        in_flight.start(1, "a", 10);
        assert_eq!(in_flight.admit("a", 10), Admission::KeyBusy);
        assert_eq!(in_flight.admit("b", 10), Admission::Granted);
        in_flight.finish(1);
        assert_eq!(in_flight.admit("a", 10), Admission::Granted);
    }

    #[test]
    fn an_event_larger_than_the_bound_travels_alone() {
        let mut in_flight = InFlight::new(Bound { events: 10, bytes: 100 });
        assert_eq!(in_flight.admit("a", 500), Admission::Granted);
        in_flight.start(1, "a", 500);
        assert_eq!(in_flight.admit("b", 1), Admission::Full);
    }

    proptest! {
        /// Any sequence of reads and acknowledgements: never two of a key, never beyond the bound.
        #[test]
        fn never_two_of_a_key_and_never_beyond_the_bound(
            steps in prop::collection::vec((0..6_u8, 1..50_usize, any::<bool>()), 0..200),
        ) {
            let bound = Bound { events: 4, bytes: 100 };
            let mut in_flight = InFlight::new(bound);
            let mut model: Vec<(i64, String, usize)> = Vec::new();
            for (seq, (key, bytes, finish)) in (0_i64..).zip(steps) {
                let key = key.to_string();
                if in_flight.admit(&key, bytes) == Admission::Granted {
                    prop_assert!(model.iter().all(|(_, other, _)| *other != key));
                    in_flight.start(seq, &key, bytes);
                    model.push((seq, key, bytes));
                }
                if finish && !model.is_empty() {
                    in_flight.finish(model.remove(0).0);
                }
                let total: usize = model.iter().map(|(_, _, bytes)| bytes).sum();
                prop_assert_eq!(in_flight.len(), model.len());
                prop_assert!(model.len() <= bound.events && (total <= bound.bytes || model.len() == 1));
            }
            for (seq, _, _) in model {
                in_flight.finish(seq);
            }
            prop_assert!(in_flight.is_empty() && in_flight.admit("0", 100) == Admission::Granted);
        }
    }
}
