//! # Offset tracking
//!
//! Answers one question for one assigned partition: *which offset may we commit?* Records finish in any
//! order, because keys run side by side; Kafka stores a single number per partition. So the tracker only
//! ever exposes the end of the unbroken run of finished records: a crash repeats work but never skips it
//! (`it_agrees_with_the_simple_model`).
//!
//! A record has started once it was read from Kafka, whether its call has begun or it waits in its key's
//! queue: the committable position passes neither.
//!
//! It holds no clock, no Kafka handle and no lock, and is dropped when the partition is revoked.

use std::collections::VecDeque;

/// The offset of the next record to read: what Kafka wants to be told in a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NextOffset(pub(crate) i64);

/// The records of one assignment that lie beyond its committable position, and what is known of each until it is finished.
#[derive(Debug)]
pub(crate) struct OffsetTracker<W> {
    /// By their offsets, which only ever grow. Nothing is known any more of one that is finished.
    records: VecDeque<(i64, Option<W>)>,
    unfinished: usize,
    highest_started: Option<i64>,
    committable: Option<NextOffset>,
}

impl<W> Default for OffsetTracker<W> {
    fn default() -> Self {
        Self { records: VecDeque::new(), unfinished: 0, highest_started: None, committable: None }
    }
}

impl<W> OffsetTracker<W> {
    /// Whether a record lies beyond all that were read before: one that Kafka hands out twice has its first reading to
    /// account for it.
    pub(crate) fn is_new(&self, offset: i64) -> bool {
        self.highest_started.is_none_or(|highest| offset > highest)
    }

    /// Takes note of a record that was read. False, and nothing is noted, unless it is new.
    pub(crate) fn started(&mut self, offset: i64, work: W) -> bool {
        if !self.is_new(offset) {
            return false;
        }
        self.highest_started = Some(offset);
        self.records.push_back((offset, Some(work)));
        self.unfinished += 1;
        true
    }

    /// What is known of an unfinished record.
    pub(crate) fn get(&self, offset: i64) -> Option<&W> {
        self.records.get(self.place(offset)?)?.1.as_ref()
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, offset: i64) -> Option<&mut W> {
        let place = self.place(offset)?;
        self.records.get_mut(place)?.1.as_mut()
    }

    /// Takes note that a started record needs no more work, and gives back what was known of it. Anything else is ignored.
    pub(crate) fn finished(&mut self, offset: i64) -> Option<W> {
        let place = self.place(offset)?;
        let work = self.records.get_mut(place)?.1.take()?;
        self.unfinished -= 1;
        self.advance();
        Some(work)
    }

    /// The position up to which every record is finished; none before the first record is.
    pub(crate) fn committable(&self) -> Option<NextOffset> {
        self.committable
    }

    /// The lowest offset that was read and has not finished.
    pub(crate) fn oldest_unfinished(&self) -> Option<i64> {
        self.records.front().map(|(offset, _)| *offset)
    }

    /// The lowest offset of an unfinished record of which this holds.
    pub(crate) fn lowest_that(&self, holds: impl Fn(&W) -> bool) -> Option<i64> {
        let found = self.records.iter().find(|(_, work)| work.as_ref().is_some_and(&holds));
        found.map(|(offset, _)| *offset)
    }

    /// How many records were read and have not finished.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// How many offsets lie between the oldest unfinished record and the highest started one, both counted.
    pub(crate) fn span(&self) -> u64 {
        match (self.oldest_unfinished(), self.highest_started) {
            (Some(oldest), Some(highest)) => highest.abs_diff(oldest) + 1,
            _ => 0,
        }
    }

    /// Where a record stands among those beyond the position. Offsets may have gaps (compaction, transaction markers), which
    /// put a record nearer to the front than its offset says, never further away.
    fn place(&self, offset: i64) -> Option<usize> {
        let (oldest, _) = self.records.front()?;
        let without_gaps = usize::try_from(offset.checked_sub(*oldest)?).ok()?;
        if self.records.get(without_gaps).is_some_and(|(it, _)| *it == offset) {
            return Some(without_gaps);
        }
        self.records.binary_search_by_key(&offset, |(it, _)| *it).ok()
    }

    fn advance(&mut self) {
        while let Some((oldest, None)) = self.records.front() {
            // Because of the gaps, the next position comes from a record we saw, never from counting.
            self.committable = Some(NextOffset(oldest + 1));
            self.records.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_committable_until_the_oldest_record_is_finished() {
        let mut tracker = OffsetTracker::default();
        for offset in [5, 6, 9] {
            assert!(tracker.started(offset, ()));
        }
        tracker.finished(9);
        tracker.finished(6);
        assert_eq!((tracker.committable(), tracker.span()), (None, 5));
        tracker.finished(5);
        assert_eq!((tracker.committable(), tracker.span()), (Some(NextOffset(10)), 0));
    }

    #[test]
    fn a_record_that_is_read_twice_counts_once() {
        let mut tracker = OffsetTracker::default();
        assert!(tracker.started(5, ()));
        assert!(!tracker.started(5, ()));
        assert!(!tracker.started(4, ()));
        tracker.finished(5);
        assert!(!tracker.started(5, ()));
        assert_eq!(tracker.committable(), Some(NextOffset(6)));
    }

    /// Everything started, everything finished, and the rule in one line each.
    #[derive(Default)]
    struct Model {
        started: BTreeSet<i64>,
        finished: BTreeSet<i64>,
    }

    impl Model {
        fn unfinished(&self) -> Option<i64> {
            self.started.difference(&self.finished).next().copied()
        }

        fn committable(&self) -> Option<NextOffset> {
            let end = self.unfinished().unwrap_or(i64::MAX);
            self.started.range(..end).next_back().map(|offset| NextOffset(offset + 1))
        }

        fn span(&self) -> u64 {
            let highest = self.started.last().copied();
            self.unfinished().zip(highest).map_or(0, |(oldest, highest)| highest.abs_diff(oldest) + 1)
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_simple_model(steps in proptest::collection::vec((any::<bool>(), 0..40_i64), 0..120)) {
            let mut tracker = OffsetTracker::default();
            let mut model = Model::default();
            for (start, offset) in steps {
                if start {
                    let beyond = model.started.last().is_none_or(|highest| offset > *highest);
                    prop_assert_eq!(tracker.started(offset, offset), beyond);
                    if beyond {
                        model.started.insert(offset);
                    }
                } else {
                    let is_first = model.started.contains(&offset) && model.finished.insert(offset);
                    prop_assert_eq!(tracker.finished(offset), is_first.then_some(offset));
                }
                prop_assert_eq!(tracker.committable(), model.committable());
                prop_assert_eq!(tracker.span(), model.span());
                prop_assert_eq!(tracker.unfinished(), model.started.difference(&model.finished).count());
                for offset in 0..40 {
                    let is_unfinished = model.started.contains(&offset) && !model.finished.contains(&offset);
                    prop_assert_eq!(tracker.get(offset), is_unfinished.then_some(&offset));
                }
            }
        }
    }
}
