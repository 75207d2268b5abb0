//! # In flight
//!
//! What the relay has taken on and not yet deleted. It answers two questions: *may this row be taken on now?* and *which
//! acknowledgements are overdue?* At most one event of a key is in flight, so first deliveries of a key arrive in the order of
//! their commits; rows and bytes that are not acknowledged are bounded, so that an unreachable Kafka costs a fixed amount of
//! memory.
//!
//! ```text
//! start ── handed ── acknowledged ── finish (its row is deleted, or it must be read again)
//! ```
//!
//! Pure data: the time is passed in, no Kafka handle, no lock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// So many entries more than needed are no matter.
const FEW: usize = 64;

/// Whether a row may be taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Granted,
    /// An earlier event of its key is in flight.
    KeyBusy,
    /// As much as is allowed waits for its acknowledgement.
    Full,
}

/// A row whose event Kafka has. It is deleted by both: after a restore of the database the same seq may be another event's,
/// which was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedRow {
    /// Where it stands in the outbox.
    pub seq: i64,
    /// Whose row it is.
    pub event_id: Uuid,
}

/// The most that may wait for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Events.
    pub events: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Started,
    Handed(Instant),
    Acknowledged,
}

#[derive(Debug)]
struct Event {
    key: Arc<str>,
    event_id: Uuid,
    partition: u32,
    bytes: usize,
    stage: Stage,
}

/// The events that are in flight.
#[derive(Debug)]
pub struct InFlight {
    bound: Bound,
    events: HashMap<i64, Event>,
    keys: HashSet<Arc<str>>,
    /// When each was handed to the producer, in that order. Entries whose event is not on its way any more are left for a
    /// while.
    handed: VecDeque<(Instant, i64)>,
    awaited: usize,
    awaited_bytes: usize,
    awaited_of: HashMap<u32, Bound>,
}

impl InFlight {
    /// Nothing is in flight.
    pub fn new(bound: Bound) -> Self {
        Self {
            bound,
            events: HashMap::new(),
            keys: HashSet::new(),
            handed: VecDeque::new(),
            awaited: 0,
            awaited_bytes: 0,
            awaited_of: HashMap::new(),
        }
    }

    /// Whether a row with this key may be taken on. One event is always allowed, whatever its size.
    pub fn admit(&self, key: &str, bytes: usize) -> Admission {
        if self.keys.contains(key) {
            Admission::KeyBusy
        } else if self.is_full() || (self.awaited > 0 && self.awaited_bytes + bytes > self.bound.bytes) {
            Admission::Full
        } else {
            Admission::Granted
        }
    }

    /// Keys land in other partitions from now on.
    pub fn rebook(&mut self, partition_of: impl Fn(&str) -> u32) {
        self.awaited_of.clear();
        for event in self.events.values_mut() {
            event.partition = partition_of(&event.key);
            if event.stage != Stage::Acknowledged {
                let of_partition =
                    self.awaited_of.entry(event.partition).or_insert(Bound { events: 0, bytes: 0 });
                of_partition.events += 1;
                of_partition.bytes += event.bytes;
            }
        }
    }

    /// The row is taken on; its key lands in this partition.
    pub fn start(&mut self, seq: i64, key: &str, event_id: Uuid, partition: u32, bytes: usize) {
        let of_partition = self.awaited_of.entry(partition).or_insert(Bound { events: 0, bytes: 0 });
        of_partition.events += 1;
        of_partition.bytes += bytes;
        self.awaited += 1;
        self.awaited_bytes += bytes;
        let key: Arc<str> = Arc::from(key);
        self.keys.insert(key.clone());
        self.events.insert(seq, Event { key, event_id, partition, bytes, stage: Stage::Started });
    }

    /// The producer has it.
    pub fn handed(&mut self, seq: i64, now: Instant) {
        if let Some(event) = self.events.get_mut(&seq) {
            event.stage = Stage::Handed(now);
            self.handed.push_back((now, seq));
        }
        if self.handed.len() > 2 * self.events.len() + FEW {
            let events = &self.events;
            self.handed.retain(|entry| is_on_its_way(events, *entry));
        }
    }

    /// Kafka has it, and its row can be deleted. Its key stays busy until that is done: the row would else be read, and sent, a
    /// second time. None if it is not in flight.
    pub fn acknowledged(&mut self, seq: i64) -> Option<PublishedRow> {
        if let Some(event) = self.events.get_mut(&seq)
            && event.stage != Stage::Acknowledged
        {
            event.stage = Stage::Acknowledged;
            self.awaited -= 1;
            self.awaited_bytes -= event.bytes;
            if let Some(awaited) = self.awaited_of.get_mut(&event.partition) {
                awaited.events -= 1;
                awaited.bytes -= event.bytes;
            }
        }
        while let Some(front) = self.handed.front()
            && !is_on_its_way(&self.events, *front)
        {
            self.handed.pop_front();
        }
        self.events.get(&seq).map(|event| PublishedRow { seq, event_id: event.event_id })
    }

    /// Its row is gone, or must be read again; its key may be sent again. A row that is not in flight is ignored.
    pub fn finish(&mut self, seq: i64) {
        self.acknowledged(seq);
        if let Some(event) = self.events.remove(&seq) {
            self.keys.remove(&event.key);
        }
    }

    /// The rows in flight.
    pub fn seqs(&self) -> Vec<i64> {
        self.seqs_above(i64::MIN)
    }

    /// Those of a higher seq than this.
    pub fn seqs_above(&self, floor: i64) -> Vec<i64> {
        self.events.keys().copied().filter(|seq| *seq > floor).collect()
    }

    /// The lowest row in flight.
    pub fn lowest(&self) -> Option<i64> {
        self.events.keys().min().copied()
    }

    /// The key of a row in flight.
    pub fn key_of(&self, seq: i64) -> Option<&str> {
        self.events.get(&seq).map(|event| &*event.key)
    }

    /// The partition of a row in flight.
    pub fn partition_of(&self, seq: i64) -> Option<u32> {
        self.events.get(&seq).map(|event| event.partition)
    }

    /// The rows that the producer has and whose acknowledgement is awaited, each with its partition.
    pub fn on_their_way(&self) -> impl Iterator<Item = (i64, u32)> {
        let handed = self.events.iter().filter(|(_, event)| matches!(event.stage, Stage::Handed(_)));
        handed.map(|(seq, event)| (*seq, event.partition))
    }

    /// The partitions of those that the producer has since before `time`, in the order in which it got them.
    pub fn handed_before(&self, time: Instant) -> impl Iterator<Item = u32> {
        let handed = self.handed.iter().take_while(move |(at, _)| *at < time);
        handed
            .filter(|entry| is_on_its_way(&self.events, **entry))
            .filter_map(|(_, seq)| self.partition_of(*seq))
    }

    /// How many times its share of what may wait for an acknowledgement is of this partition, rounded down. Shares are for one more
    /// than there are `partitions`, so that some is left when all of the others hang.
    pub fn shares_of(&self, partition: u32, partitions: u32) -> usize {
        let Some(awaited) = self.awaited_of.get(&partition) else { return 0 };
        let shares = usize::try_from(partitions).unwrap_or(usize::MAX).saturating_add(1);
        let taken = |of: usize, bound: usize| of.saturating_mul(shares) / bound.max(1);
        taken(awaited.events, self.bound.events).max(taken(awaited.bytes, self.bound.bytes))
    }

    /// How many wait for their acknowledgement.
    pub fn awaited(&self) -> usize {
        self.awaited
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether nothing more may be taken on.
    pub fn is_full(&self) -> bool {
        self.awaited >= self.bound.events || self.awaited_bytes >= self.bound.bytes
    }

    /// Whether at most half of what is allowed waits for its acknowledgement.
    pub fn is_half_empty(&self) -> bool {
        self.awaited * 2 <= self.bound.events && self.awaited_bytes * 2 <= self.bound.bytes
    }

    /// How many more events may be taken on.
    pub fn room(&self) -> usize {
        self.bound.events.saturating_sub(self.awaited)
    }

    /// Forgets all but these: the producer that had them is gone, their rows are still in the table.
    /// The lowest of those that are forgotten.
    pub fn retain<'r>(&mut self, rows: impl IntoIterator<Item = &'r PublishedRow>) -> Option<i64> {
        let kept: HashSet<i64> = rows.into_iter().map(|row| row.seq).collect();
        let gone: Vec<i64> = self.events.keys().filter(|seq| !kept.contains(seq)).copied().collect();
        for seq in &gone {
            self.finish(*seq);
        }
        gone.into_iter().min()
    }
}

/// Whether the event still waits for its acknowledgement since that time.
fn is_on_its_way(events: &HashMap<i64, Event>, (at, seq): (Instant, i64)) -> bool {
    events.get(&seq).is_some_and(|event| event.stage == Stage::Handed(at))
}

#[cfg(test)]
#[path = "in_flight_tests.rs"]
mod tests;
