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

use std::collections::BTreeMap;

/// The offset of the next record to read: what Kafka wants to be told in a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NextOffset(pub(crate) i64);

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    InFlight,
    Finished,
}

/// The records of one assignment that lie beyond its committable position.
#[derive(Debug, Default)]
pub(crate) struct OffsetTracker {
    records: BTreeMap<i64, Progress>,
    unfinished: usize,
    highest_started: Option<i64>,
    committable: Option<NextOffset>,
}

impl OffsetTracker {
    /// Takes note of a record that was read. False, and nothing is noted, unless it lies beyond all that were
    /// read before: a record that Kafka hands out twice has its first reading to account for it.
    pub(crate) fn started(&mut self, offset: i64) -> bool {
        if self.highest_started.is_some_and(|highest| offset <= highest) {
            return false;
        }
        self.highest_started = Some(offset);
        self.records.insert(offset, Progress::InFlight);
        self.unfinished += 1;
        true
    }

    /// Takes note that a started record needs no more work. Anything else is ignored.
    pub(crate) fn finished(&mut self, offset: i64) {
        if let Some(progress @ Progress::InFlight) = self.records.get_mut(&offset) {
            *progress = Progress::Finished;
            self.unfinished -= 1;
            self.advance();
        }
    }

    /// The position up to which every record is finished; none before the first record is.
    pub(crate) fn committable(&self) -> Option<NextOffset> {
        self.committable
    }

    /// The lowest offset that was read and has not finished.
    pub(crate) fn oldest_unfinished(&self) -> Option<i64> {
        self.records.first_key_value().map(|(offset, _)| *offset)
    }

    /// How many records were read and have not finished.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// How many offsets lie between the oldest unfinished record and the highest started one, both counted.
    pub(crate) fn span(&self) -> u64 {
        match (self.records.first_key_value(), self.highest_started) {
            (Some((oldest, _)), Some(highest)) => highest.abs_diff(*oldest) + 1,
            _ => 0,
        }
    }

    fn advance(&mut self) {
        while let Some(oldest) = self.records.first_entry() {
            if *oldest.get() == Progress::InFlight {
                return;
            }
            // Offsets may have gaps (compaction, transaction markers), so the next position comes
            // from a record we saw, never from counting.
            self.committable = Some(NextOffset(oldest.remove_entry().0 + 1));
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
            assert!(tracker.started(offset));
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
        assert!(tracker.started(5));
        assert!(!tracker.started(5));
        assert!(!tracker.started(4));
        tracker.finished(5);
        assert!(!tracker.started(5));
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
                    prop_assert_eq!(tracker.started(offset), beyond);
                    if beyond {
                        model.started.insert(offset);
                    }
                } else {
                    tracker.finished(offset);
                    if model.started.contains(&offset) {
                        model.finished.insert(offset);
                    }
                }
                prop_assert_eq!(tracker.committable(), model.committable());
                prop_assert_eq!(tracker.span(), model.span());
                prop_assert_eq!(tracker.unfinished(), model.started.difference(&model.finished).count());
            }
        }
    }
}
