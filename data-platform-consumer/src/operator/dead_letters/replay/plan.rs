//! # Plan
//!
//! In which order dead letters are delivered: those of one key of a partition one after the other, as they were parked, keys
//! side by side. One that fails holds back the later ones of its key, or they would overtake it. Pure data.

use std::collections::{HashMap, VecDeque};

use super::super::letter::LetterId;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum QueueKey {
    Of(i32, Box<[u8]>),
    /// Without a key nothing is in order.
    Alone(LetterId),
}

/// What is to be delivered, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The first of each key that has none on its way.
    ready: VecDeque<(QueueKey, LetterId)>,
    /// What waits behind that. There is an entry as long as there is one ready or on its way.
    behind: HashMap<QueueKey, VecDeque<LetterId>>,
    running: HashMap<LetterId, QueueKey>,
}

impl Plan {
    /// Puts one behind those of its key, unless it is on its way already.
    pub(super) fn push(&mut self, id: LetterId, key: Option<&[u8]>) {
        if self.running.contains_key(&id) {
            return;
        }
        let key = key.map_or(QueueKey::Alone(id), |bytes| QueueKey::Of(id.partition, bytes.into()));
        if let Some(behind) = self.behind.get_mut(&key) {
            behind.push_back(id);
        } else {
            self.behind.insert(key.clone(), VecDeque::new());
            self.ready.push_back((key, id));
        }
    }

    /// The next one whose key has none on its way. From now on it is.
    pub(super) fn start_next(&mut self) -> Option<LetterId> {
        let (key, id) = self.ready.pop_front()?;
        self.running.insert(id, key);
        Some(id)
    }

    /// It was delivered, or needs not be: the next of its key is ready.
    pub(super) fn done(&mut self, id: LetterId) {
        let Some(key) = self.running.remove(&id) else { return };
        match self.behind.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(next) => self.ready.push_back((key, next)),
            None => drop(self.behind.remove(&key)),
        }
    }

    /// It failed: the later ones of its key, which it holds back, are no longer planned.
    pub(super) fn failed(&mut self, id: LetterId) -> VecDeque<LetterId> {
        self.running.remove(&id).and_then(|key| self.behind.remove(&key)).unwrap_or_default()
    }

    /// Drops what is not on its way.
    pub(super) fn drop_waiting(&mut self) {
        self.ready.clear();
        self.behind.clear();
        for key in self.running.values() {
            self.behind.insert(key.clone(), VecDeque::new());
        }
    }

    pub(super) fn is_running(&self, id: LetterId) -> bool {
        self.running.contains_key(&id)
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn id(offset: i64) -> LetterId {
        LetterId { partition: 0, offset }
    }

    #[test]
    fn one_that_fails_holds_back_the_later_ones_of_its_key_and_nobody_else() {
        let mut plan = Plan::default();
        plan.push(id(0), Some(b"1"));
        plan.push(id(1), Some(b"1"));
        plan.push(id(2), Some(b"2"));
        plan.push(id(3), Some(b"1"));
        assert_eq!(
            (plan.start_next(), plan.start_next(), plan.start_next()),
            (Some(id(0)), Some(id(2)), None)
        );
        assert_eq!(plan.failed(id(0)), [id(1), id(3)]);
        plan.done(id(2));
        assert!(plan.is_empty());
    }

    #[test]
    fn the_same_key_in_another_partition_is_another_key() {
        let mut plan = Plan::default();
        plan.push(id(0), Some(b"1"));
        let other = LetterId { partition: 1, offset: 0 };
        plan.push(other, Some(b"1"));
        assert_eq!((plan.start_next(), plan.start_next()), (Some(id(0)), Some(other)));
    }

    #[test]
    fn what_is_on_its_way_is_not_planned_again_and_keeps_its_key_taken() {
        let mut plan = Plan::default();
        plan.push(id(0), Some(b"1"));
        plan.push(id(1), Some(b"1"));
        assert_eq!(plan.start_next(), Some(id(0)));
        plan.drop_waiting();
        plan.push(id(0), Some(b"1"));
        plan.push(id(1), Some(b"1"));
        assert_eq!(plan.start_next(), None);
        plan.done(id(0));
        assert_eq!(plan.start_next(), Some(id(1)));
    }

    proptest! {
        #[test]
        fn one_key_runs_one_at_a_time_in_order_and_everything_is_tried_or_held_back(
            keys in proptest::collection::vec(proptest::option::of(0..4_u8), 0..60),
            fails in proptest::collection::vec(proptest::bool::weighted(0.2), 60),
        ) {
            let mut plan = Plan::default();
            for (offset, key) in (0..).zip(&keys) {
                plan.push(id(offset), key.as_ref().map(std::slice::from_ref));
            }
            let key_of = |id: LetterId| keys[usize::try_from(id.offset).unwrap()];
            let (mut tried, mut settled) = (Vec::new(), HashSet::new());
            while !plan.is_empty() {
                let mut running = Vec::new();
                while let Some(id) = plan.start_next() {
                    prop_assert!(key_of(id).is_none() || running.iter().all(|other| key_of(*other) != key_of(id)));
                    running.push(id);
                }
                for id in running {
                    tried.push(id);
                    prop_assert!(settled.insert(id), "{} twice", id);
                    if fails[usize::try_from(id.offset).unwrap()] {
                        let held_back = plan.failed(id);
                        prop_assert!(held_back.iter().all(|later| later.offset > id.offset && key_of(*later) == key_of(id)));
                        settled.extend(held_back);
                    } else {
                        plan.done(id);
                    }
                }
            }
            prop_assert_eq!(settled.len(), keys.len());
            for key in 0..4 {
                let of_key: Vec<i64> = tried.iter().filter(|id| key_of(**id) == Some(key)).map(|id| id.offset).collect();
                prop_assert!(of_key.is_sorted());
            }
            prop_assert!(plan.behind.is_empty());
        }
    }
}
