//! # Key queues
//!
//! Records of one key run one after the other, in the order in which they were read; different keys run
//! side by side. A record without a key has a queue of its own. So one slow key holds up nobody but
//! itself, and the events of one order cannot overtake each other
//! (`one_key_runs_one_at_a_time_in_order_and_everything_finishes`).
//!
//! One set of queues belongs to one assignment of one partition. How many records may run at a time is not
//! decided here: whoever asks for the next record has room for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum QueueKey {
    Of(Arc<[u8]>),
    Alone(i64),
}

/// The records of one assignment that were read and have not finished.
#[derive(Debug)]
pub(crate) struct KeyQueues<T> {
    /// The first record of each key that has none running, in the order in which they became ready.
    ready: VecDeque<(QueueKey, i64, T)>,
    /// What waits behind the ready or running record of its key. There is an entry as long as there is one.
    behind: HashMap<QueueKey, VecDeque<(i64, T)>>,
    running: HashMap<i64, QueueKey>,
}

impl<T> Default for KeyQueues<T> {
    fn default() -> Self {
        Self { ready: VecDeque::new(), behind: HashMap::new(), running: HashMap::new() }
    }
}

impl<T> KeyQueues<T> {
    /// Queues a record behind those of its key.
    pub(crate) fn push(&mut self, key: Option<&[u8]>, offset: i64, record: T) {
        let key = key.map_or(QueueKey::Alone(offset), |bytes| QueueKey::Of(bytes.into()));
        if let Some(behind) = self.behind.get_mut(&key) {
            behind.push_back((offset, record));
        } else {
            self.behind.insert(key.clone(), VecDeque::new());
            self.ready.push_back((key, offset, record));
        }
    }

    /// The next record whose key has none running. From now on it is running.
    pub(crate) fn start_next(&mut self) -> Option<(i64, T)> {
        let (key, offset, record) = self.ready.pop_front()?;
        self.running.insert(offset, key);
        Some((offset, record))
    }

    /// How many records could start at once.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Whether there is a record whose key has none running.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A running record has finished: the next of its key becomes ready.
    pub(crate) fn finished(&mut self, offset: i64) {
        let Some(key) = self.running.remove(&offset) else { return };
        match self.behind.get_mut(&key).and_then(VecDeque::pop_front) {
            Some((next, record)) => self.ready.push_back((key, next, record)),
            None => {
                self.behind.remove(&key);
            }
        }
    }

    /// Drops everything that is not running.
    pub(crate) fn clear_waiting(&mut self) {
        self.ready.clear();
        self.behind.clear();
        for key in self.running.values() {
            self.behind.insert(key.clone(), VecDeque::new());
        }
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
        queues.push(Some(b"1"), 0, "first of 1");
        queues.push(Some(b"1"), 1, "second of 1");
        queues.push(Some(b"2"), 2, "first of 2");
        assert_eq!(queues.start_next(), Some((0, "first of 1")));
        assert_eq!(queues.start_next(), Some((2, "first of 2")));
        assert_eq!(queues.start_next(), None);
        queues.finished(0);
        assert_eq!(queues.start_next(), Some((1, "second of 1")));
    }

    #[test]
    fn records_without_a_key_run_side_by_side() {
        let mut queues = KeyQueues::default();
        queues.push(None, 0, ());
        queues.push(None, 1, ());
        assert_eq!((queues.start_next(), queues.start_next()), (Some((0, ())), Some((1, ()))));
    }

    #[test]
    fn clearing_leaves_what_runs_and_keeps_its_key_taken() {
        let mut queues = KeyQueues::default();
        queues.push(Some(b"1"), 0, "running");
        assert_eq!(queues.start_next(), Some((0, "running")));
        queues.push(Some(b"1"), 1, "waiting");
        queues.push(Some(b"2"), 2, "ready");
        queues.clear_waiting();
        assert_eq!(queues.start_next(), None);
        queues.push(Some(b"1"), 3, "later");
        assert_eq!(queues.start_next(), None);
        queues.finished(0);
        assert_eq!(queues.start_next(), Some((3, "later")));
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
        queues: KeyQueues<Option<u8>>,
        running: Vec<(i64, Option<u8>)>,
        finished: Vec<(i64, Option<u8>)>,
    }

    impl Run {
        fn start(&mut self) -> Result<bool, TestCaseError> {
            let Some((offset, key)) = self.queues.start_next() else { return Ok(false) };
            let twice = key.is_some() && self.running.iter().any(|(_, other)| *other == key);
            prop_assert!(!twice, "two records of key {key:?} run at a time");
            self.running.push((offset, key));
            Ok(true)
        }

        fn finish(&mut self, which: usize) {
            if !self.running.is_empty() {
                let record = self.running.remove(which % self.running.len());
                self.queues.finished(record.0);
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
            let mut pushed = 0;
            for step in steps {
                match step {
                    Step::Push(key) => {
                        run.queues.push(key.as_ref().map(std::slice::from_ref), pushed, key);
                        pushed += 1;
                    }
                    Step::Start => { run.start()?; }
                    Step::Finish(which) => run.finish(which),
                }
            }
            while run.start()? || !run.running.is_empty() {
                run.finish(0);
            }
            let all: HashSet<i64> = run.finished.iter().map(|(offset, _)| *offset).collect();
            prop_assert_eq!(all, (0..pushed).collect::<HashSet<_>>());
            for key in 0..4 {
                let of_key: Vec<i64> =
                    run.finished.iter().filter(|(_, k)| *k == Some(key)).map(|(offset, _)| *offset).collect();
                prop_assert!(of_key.is_sorted(), "key {} finished as {:?}", key, of_key);
            }
            prop_assert!(run.queues.behind.is_empty() && run.queues.running.is_empty(), "something is left");
        }
    }
}
