//! # Key queues
//!
//! Records of one key run one after the other, in the order in which they were read; different keys run
//! side by side. A record without a key has a queue of its own. So one slow key holds up nobody but
//! itself, and the events of one order cannot overtake each other
//! (`one_key_runs_one_at_a_time_in_order_and_everything_finishes`).
//!
//! One set of queues belongs to one assignment of one partition. How many records may run at a time is not
//! decided here: whoever asks for the next record has room for it.
//!
//! A key is known by its hash, which costs no allocation. Should two keys ever share one, they run one after the other as if
//! they were the same: slower, and no less in order (`keys_that_share_a_lane_keep_their_order`).

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// The queue that a record belongs to: its key's, or one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane(Option<u64>);

/// The records of one assignment that were read and have not finished.
#[derive(Debug, Default)]
pub(crate) struct KeyQueues {
    hashing: RandomState,
    /// The first record of each key that has none running, in the order in which they became ready.
    ready: VecDeque<(Lane, i64)>,
    /// What waits behind the ready or running record of its key. There is an entry as long as there is one.
    behind: HashMap<u64, Behind, BuildHasherDefault<AlreadyHashed>>,
}

#[derive(Debug, Default)]
struct Behind {
    is_running: bool,
    waiting: VecDeque<i64>,
}

impl KeyQueues {
    /// Queues a record behind those of its key.
    pub(crate) fn push(&mut self, key: Option<&[u8]>, offset: i64) -> Lane {
        let lane = Lane(key.map(|bytes| self.hashing.hash_one(bytes)));
        self.push_to(lane, offset);
        lane
    }

    fn push_to(&mut self, lane: Lane, offset: i64) {
        if let Lane(Some(key)) = lane {
            if let Some(behind) = self.behind.get_mut(&key) {
                behind.waiting.push_back(offset);
                return;
            }
            self.behind.insert(key, Behind::default());
        }
        self.ready.push_back((lane, offset));
    }

    /// The next record whose key has none running. From now on it is running.
    pub(crate) fn start_next(&mut self) -> Option<i64> {
        let (lane, offset) = self.ready.pop_front()?;
        if let Some(behind) = lane.0.and_then(|key| self.behind.get_mut(&key)) {
            behind.is_running = true;
        }
        Some(offset)
    }

    /// How many records could start at once.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Whether there is a record whose key has none running.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The running record of this lane has finished: the next one becomes ready.
    pub(crate) fn finished(&mut self, lane: Lane) {
        let Lane(Some(key)) = lane else { return };
        let Some(behind) = self.behind.get_mut(&key).filter(|behind| behind.is_running) else { return };
        behind.is_running = false;
        match behind.waiting.pop_front() {
            Some(next) => self.ready.push_back((lane, next)),
            None => {
                self.behind.remove(&key);
            }
        }
    }

    /// Drops what is not running from this offset on.
    pub(crate) fn keep_below(&mut self, offset: i64) {
        self.ready.retain(|(_, waiting)| *waiting < offset);
        let ready: HashSet<u64> = self.ready.iter().filter_map(|(lane, _)| lane.0).collect();
        self.behind.retain(|key, behind| {
            behind.waiting.retain(|waiting| *waiting < offset);
            behind.is_running || ready.contains(key)
        });
    }
}

/// The map's keys are hashes, of a seed that nobody outside knows.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_waits_for_itself_and_for_nobody_else() {
        let mut queues = KeyQueues::default();
        let one = queues.push(Some(b"1"), 0);
        queues.push(Some(b"1"), 1);
        queues.push(Some(b"2"), 2);
        assert_eq!(queues.start_next(), Some(0));
        assert_eq!(queues.start_next(), Some(2));
        assert_eq!(queues.start_next(), None);
        queues.finished(one);
        assert_eq!(queues.start_next(), Some(1));
    }

    #[test]
    fn records_without_a_key_run_side_by_side() {
        let mut queues = KeyQueues::default();
        queues.push(None, 0);
        queues.push(None, 1);
        assert_eq!((queues.start_next(), queues.start_next()), (Some(0), Some(1)));
    }

    #[test]
    fn clearing_leaves_what_runs_and_keeps_its_key_taken() {
        let mut queues = KeyQueues::default();
        let one = queues.push(Some(b"1"), 0);
        assert_eq!(queues.start_next(), Some(0));
        queues.push(Some(b"1"), 1);
        queues.push(Some(b"2"), 2);
        queues.keep_below(0);
        assert_eq!(queues.start_next(), None);
        queues.push(Some(b"1"), 3);
        assert_eq!(queues.start_next(), None);
        queues.push(Some(b"2"), 4);
        assert_eq!(queues.start_next(), Some(4), "key 2 had none running");
        queues.finished(one);
        assert_eq!(queues.start_next(), Some(3));
    }

    #[test]
    fn what_is_kept_runs_on_in_the_order_of_its_key() {
        let mut queues = KeyQueues::default();
        let one = queues.push(Some(b"1"), 0);
        assert_eq!(queues.start_next(), Some(0));
        queues.push(Some(b"1"), 1);
        let two = queues.push(Some(b"2"), 2);
        queues.push(Some(b"2"), 3);
        queues.push(Some(b"1"), 4);
        queues.push(Some(b"3"), 5);
        queues.keep_below(4);
        assert_eq!((queues.start_next(), queues.start_next()), (Some(2), None));
        queues.finished(two);
        queues.finished(one);
        assert_eq!((queues.start_next(), queues.start_next(), queues.start_next()), (Some(3), Some(1), None));
        queues.finished(one);
        assert_eq!(queues.start_next(), None);
    }

    #[test]
    fn keys_that_share_a_lane_keep_their_order() {
        let mut queues = KeyQueues::default();
        let shared = Lane(Some(7));
        for offset in 0..3 {
            queues.push_to(shared, offset);
        }
        for offset in 0..3 {
            assert_eq!((queues.start_next(), queues.start_next()), (Some(offset), None));
            queues.finished(shared);
        }
        assert!(queues.behind.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(Option<u8>),
        Start,
        /// Finishes one of those that run, whichever the number says.
        Finish(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::option::of(0..4_u8).prop_map(Step::Push),
            Just(Step::Start),
            any::<usize>().prop_map(Step::Finish),
        ]
    }

    #[derive(Default)]
    struct Run {
        queues: KeyQueues,
        /// Key and lane of each record, by its offset.
        pushed: Vec<(Option<u8>, Lane)>,
        running: Vec<(i64, Option<u8>)>,
        finished: Vec<(i64, Option<u8>)>,
    }

    impl Run {
        fn start(&mut self) -> Result<bool, TestCaseError> {
            let Some(offset) = self.queues.start_next() else { return Ok(false) };
            let (key, _) = self.pushed[usize::try_from(offset).unwrap()];
            let twice = key.is_some() && self.running.iter().any(|(_, other)| *other == key);
            prop_assert!(!twice, "two records of key {key:?} run at a time");
            self.running.push((offset, key));
            Ok(true)
        }

        fn finish(&mut self, which: usize) {
            if !self.running.is_empty() {
                let record = self.running.remove(which % self.running.len());
                self.queues.finished(self.pushed[usize::try_from(record.0).unwrap()].1);
                self.finished.push(record);
            }
        }
    }

    proptest! {
        #[test]
        fn one_key_runs_one_at_a_time_in_order_and_everything_finishes(
            steps in proptest::collection::vec(any_step(), 0..200)
        ) {
            let mut run = Run::default();
            for step in steps {
                match step {
                    Step::Push(key) => {
                        let offset = run.pushed.len().try_into().unwrap();
                        let lane = run.queues.push(key.as_ref().map(std::slice::from_ref), offset);
                        run.pushed.push((key, lane));
                    }
                    Step::Start => { run.start()?; }
                    Step::Finish(which) => run.finish(which),
                }
            }
            while run.start()? || !run.running.is_empty() {
                run.finish(0);
            }
            let all: HashSet<i64> = run.finished.iter().map(|(offset, _)| *offset).collect();
            prop_assert_eq!(all, (0..run.pushed.len().try_into().unwrap()).collect::<HashSet<_>>());
            for key in 0..4 {
                let of_key: Vec<i64> =
                    run.finished.iter().filter(|(_, k)| *k == Some(key)).map(|(offset, _)| *offset).collect();
                prop_assert!(of_key.is_sorted(), "key {} finished as {:?}", key, of_key);
            }
            prop_assert!(run.queues.behind.is_empty(), "something is left");
        }
    }
}
