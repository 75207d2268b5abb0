//! The topic, and how the client of a member reads it.

use std::collections::{BTreeMap, VecDeque};

use super::chance::Chance;

/// Where a record lies. It is the record, too, as far as the assignments are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// What becomes of a record at a platform that is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Sound,
    Undecodable,
    Rejected,
    /// Each call fails, until the faults stop, or for ever.
    Failing,
}

#[derive(Debug)]
pub(super) struct TopicRecord {
    pub(super) key: Option<u8>,
    pub(super) nature: Nature,
    /// The offset of the record of the same key before it.
    pub(super) previous: Option<i64>,
}

#[derive(Debug, Default)]
struct Log {
    records: BTreeMap<i64, TopicRecord>,
    last_of_key: BTreeMap<u8, i64>,
    end: i64,
}

#[derive(Debug)]
pub(super) struct Topic {
    partitions: BTreeMap<i32, Log>,
    keys: u64,
    without_key: u64,
    at_fault: u64,
    /// How many records may still come of which each call fails.
    failing_to_come: usize,
}

impl Topic {
    pub(super) fn new(chance: &mut Chance) -> Self {
        let partitions = 0..chance.one_of(&[1, 2, 3, 4]);
        Self {
            partitions: partitions.map(|partition| (partition, Log::default())).collect(),
            keys: chance.one_of(&[1, 2, 5, 200]),
            without_key: chance.one_of(&[0, 0, 20, 100]),
            at_fault: chance.one_of(&[0, 2, 10, 40]),
            failing_to_come: usize::MAX,
        }
    }

    /// No more than two of its records fail for ever.
    pub(super) fn with_two_that_fail_for_ever(self) -> Self {
        Self { failing_to_come: 2, at_fault: self.at_fault.max(10), ..self }
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied()
    }

    pub(super) fn append(&mut self, chance: &mut Chance) {
        let nature = if chance.percent(self.at_fault) {
            chance.one_of(&[Nature::Undecodable, Nature::Rejected, Nature::Failing])
        } else {
            Nature::Sound
        };
        let nature =
            if nature == Nature::Failing && self.failing_to_come == 0 { Nature::Sound } else { nature };
        self.failing_to_come -= usize::from(nature == Nature::Failing);
        let has_key = !chance.percent(self.without_key);
        let key = has_key.then(|| u8::try_from(chance.number(0..self.keys)).unwrap());
        self.put(key, nature, chance);
    }

    /// One that can be taken, and waits for no other.
    pub(super) fn append_a_sound_one(&mut self, chance: &mut Chance) {
        self.put(None, Nature::Sound, chance);
    }

    fn put(&mut self, key: Option<u8>, nature: Nature, chance: &mut Chance) {
        let partitions: Vec<i32> = self.partitions().collect();
        let log = self.partitions.get_mut(&chance.one_of(&partitions)).unwrap();
        // A transaction's marker or compaction leaves a gap.
        let offset = if chance.percent(5) { log.end + 2 } else { log.end };
        let previous = key.and_then(|key| log.last_of_key.insert(key, offset));
        log.records.insert(offset, TopicRecord { key, nature, previous });
        log.end = offset + 1;
    }

    pub(super) fn record(&self, Position { partition, offset }: Position) -> &TopicRecord {
        &self.partitions[&partition].records[&offset]
    }

    /// The offsets from this one on.
    pub(super) fn from(&self, partition: i32, offset: i64) -> impl Iterator<Item = i64> {
        self.partitions[&partition].records.range(offset..).map(|(offset, _)| *offset)
    }

    /// The offset behind the last record.
    pub(super) fn end(&self, partition: i32) -> i64 {
        self.partitions[&partition].end
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Position, &TopicRecord)> {
        self.partitions.iter().flat_map(|(partition, log)| {
            log.records
                .iter()
                .map(|(offset, record)| (Position { partition: *partition, offset: *offset }, record))
        })
    }
}

/// How the client of a member reads one partition.
#[derive(Debug)]
pub(super) struct Reading {
    start: i64,
    next: i64,
    fetched: VecDeque<i64>,
    paused: bool,
}

impl Reading {
    /// The client pauses a partition for as long as it is not told otherwise, over assignments too.
    pub(super) fn new(start: i64, paused: bool) -> Self {
        Self { start, next: start, fetched: VecDeque::new(), paused }
    }

    pub(super) fn has_more(&self, topic: &Topic, partition: i32) -> bool {
        !self.paused && (!self.fetched.is_empty() || topic.end(partition) > self.next)
    }

    /// Fetches ahead of what is polled.
    pub(super) fn fetch(&mut self, topic: &Topic, partition: i32, most: usize) {
        if self.paused {
            return;
        }
        for offset in topic.from(partition, self.next).take(most) {
            self.fetched.push_back(offset);
            self.next = offset + 1;
        }
    }

    pub(super) fn poll(&mut self) -> Option<i64> {
        if self.paused { None } else { self.fetched.pop_front() }
    }

    /// What was fetched ahead is thrown away and read again later, now and then with some that were polled before.
    pub(super) fn pause(&mut self, chance: &mut Chance) {
        assert!(!self.paused, "paused twice");
        self.paused = true;
        self.next = self.fetched.pop_front().unwrap_or(self.next);
        self.fetched.clear();
        if chance.percent(10) {
            self.next = (self.next - 3).max(self.start);
        }
    }

    pub(super) fn resume(&mut self) {
        assert!(self.paused, "resumed without a pause");
        self.paused = false;
    }
}
