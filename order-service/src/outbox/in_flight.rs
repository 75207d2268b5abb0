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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    const EVENT: Uuid = Uuid::nil();
    const PARTITION: u32 = 0;

    #[test]
    fn a_key_waits_until_the_row_of_its_earlier_event_is_gone_and_others_do_not() {
        let mut in_flight = InFlight::new(Bound { events: 10, bytes: 1000 });
        in_flight.start(1, "a", EVENT, PARTITION, 10);
        assert_eq!(in_flight.admit("a", 10), Admission::KeyBusy);
        assert_eq!(in_flight.admit("b", 10), Admission::Granted);
        in_flight.acknowledged(1);
        assert_eq!(in_flight.admit("a", 10), Admission::KeyBusy);
        in_flight.finish(1);
        assert_eq!(in_flight.admit("a", 10), Admission::Granted);
    }

    #[test]
    fn an_event_larger_than_the_bound_travels_alone() {
        let mut in_flight = InFlight::new(Bound { events: 10, bytes: 100 });
        assert_eq!(in_flight.admit("a", 500), Admission::Granted);
        in_flight.start(1, "a", EVENT, PARTITION, 500);
        assert_eq!(in_flight.admit("b", 1), Admission::Full);
        in_flight.acknowledged(1);
        assert_eq!(in_flight.admit("b", 1), Admission::Granted);
    }

    #[test]
    fn overdue_is_what_was_handed_before_and_not_acknowledged() {
        let mut in_flight = InFlight::new(Bound { events: 10, bytes: 1000 });
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        for (seq, key, partition) in [(1, "a", 10), (2, "b", 20), (3, "c", 30), (4, "d", 40)] {
            in_flight.start(seq, key, EVENT, partition, 1);
        }
        in_flight.handed(2, at(10));
        in_flight.handed(1, at(20));
        in_flight.handed(4, at(30));
        let overdue = |in_flight: &InFlight, millis| in_flight.handed_before(at(millis)).collect::<Vec<_>>();
        assert_eq!(overdue(&in_flight, 10), Vec::<u32>::new());
        assert_eq!(overdue(&in_flight, 30), [20, 10]);
        in_flight.acknowledged(1);
        assert_eq!(overdue(&in_flight, 31), [20, 40]);
        in_flight.finish(2);
        assert_eq!(overdue(&in_flight, 31), [40]);
        assert_eq!(in_flight.on_their_way().collect::<Vec<_>>(), [(4, 40)]);
    }

    #[test]
    fn a_partitions_shares_are_counted_by_events_and_by_bytes() {
        let mut in_flight = InFlight::new(Bound { events: 9, bytes: 900 });
        for (seq, key, partition) in [(1, "a", 0), (2, "b", 1), (3, "c", 0), (4, "d", 0)] {
            assert_eq!(in_flight.shares_of(0, 2), 0);
            in_flight.start(seq, key, EVENT, partition, 1);
        }
        assert_eq!(
            (in_flight.shares_of(0, 2), in_flight.shares_of(1, 2), in_flight.shares_of(2, 2)),
            (1, 0, 0)
        );
        in_flight.acknowledged(1);
        assert_eq!(in_flight.shares_of(0, 2), 0);
        in_flight.finish(1);
        in_flight.start(5, "large", EVENT, 0, 600);
        assert_eq!(in_flight.shares_of(0, 2), 2);
        in_flight.finish(5);
        assert_eq!(in_flight.shares_of(0, 2), 0);
        in_flight.rebook(|_| 7);
        assert_eq!(
            (in_flight.shares_of(0, 2), in_flight.shares_of(1, 2), in_flight.shares_of(7, 2)),
            (0, 0, 1)
        );
    }

    #[test]
    fn one_that_is_never_acknowledged_costs_no_memory_for_those_behind_it() {
        let mut in_flight = InFlight::new(Bound { events: 10, bytes: 1000 });
        let now = Instant::now();
        in_flight.start(0, "stuck", EVENT, PARTITION, 1);
        in_flight.handed(0, now);
        for seq in 1..10_000 {
            in_flight.start(seq, "moving", EVENT, PARTITION, 1);
            in_flight.handed(seq, now);
            in_flight.finish(seq);
        }
        assert!(in_flight.handed.len() <= FEW + 4, "{}", in_flight.handed.len());
        assert_eq!(in_flight.handed_before(now + Duration::from_secs(1)).collect::<Vec<_>>(), [PARTITION]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Read,
        Hand,
        Acknowledge,
        Finish,
    }

    proptest! {
        /// Any sequence of reads, acknowledgements, deletes and refusals: never two of a key, never beyond the bound.
        #[test]
        fn never_two_of_a_key_and_never_beyond_the_bound(
            steps in prop::collection::vec(
                (
                    prop::sample::select(vec![Step::Read, Step::Hand, Step::Acknowledge, Step::Finish]),
                    0..6_u8,
                    1..50_usize,
                    any::<prop::sample::Index>(),
                ),
                0..300,
            ),
        ) {
            let bound = Bound { events: 4, bytes: 100 };
            let mut in_flight = InFlight::new(bound);
            // By seq: key, bytes, whether handed, whether acknowledged.
            let mut model: BTreeMap<i64, (String, usize, bool, bool)> = BTreeMap::new();
            let now = Instant::now();
            for (seq, (step, key, bytes, index)) in (0_i64..).zip(steps) {
                let chosen = (!model.is_empty()).then(|| *index.get(&model.keys().copied().collect::<Vec<_>>()));
                match (step, chosen) {
                    (Step::Read, _) => {
                        let key = key.to_string();
                        if in_flight.admit(&key, bytes) == Admission::Granted {
                            prop_assert!(model.values().all(|(other, ..)| *other != key));
                            in_flight.start(seq, &key, EVENT, PARTITION, bytes);
                            model.insert(seq, (key, bytes, false, false));
                        }
                    }
                    (Step::Hand, Some(chosen)) if !model[&chosen].2 && !model[&chosen].3 => {
                        in_flight.handed(chosen, now);
                        model.get_mut(&chosen).unwrap().2 = true;
                    }
                    (Step::Acknowledge, Some(chosen)) => {
                        in_flight.acknowledged(chosen);
                        model.get_mut(&chosen).unwrap().3 = true;
                    }
                    (Step::Finish, Some(chosen)) => {
                        in_flight.finish(chosen);
                        model.remove(&chosen);
                    }
                    _ => {}
                }
                let awaited: Vec<usize> = model.values().filter(|event| !event.3).map(|event| event.1).collect();
                let total: usize = awaited.iter().sum();
                prop_assert_eq!(in_flight.awaited(), awaited.len());
                prop_assert!(awaited.len() <= bound.events && (total <= bound.bytes || awaited.len() == 1));
                let mut on_their_way: Vec<i64> = in_flight.on_their_way().map(|(seq, _)| seq).collect();
                on_their_way.sort_unstable();
                let expected: Vec<i64> =
                    model.iter().filter(|(_, event)| event.2 && !event.3).map(|(seq, _)| *seq).collect();
                prop_assert_eq!(on_their_way, expected.clone());
                prop_assert_eq!(in_flight.handed_before(now + Duration::from_nanos(1)).count(), expected.len());
            }
            for seq in model.into_keys() {
                in_flight.finish(seq);
            }
            prop_assert!(in_flight.is_empty() && in_flight.admit("0", 100) == Admission::Granted);
        }
    }
}
