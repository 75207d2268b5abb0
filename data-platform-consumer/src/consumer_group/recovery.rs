//! # Recovery
//!
//! When a member that has stalled, and is back, has recovered: once each partition that it owns has moved since, or had nothing to
//! do, at whatever time. Not all of them in one look: with few slow keys each there may never be one in which all have. What cannot
//! move, and says why by other means (it is out of reach, the platform is away, an operator must decide), does not keep it from
//! that, and has not moved for it either.
//!
//! Pure data, told what the watchdog is told.

use std::collections::BTreeSet;

use super::watchdog::{Movement, Reach, Standstill, Work};

#[derive(Debug, Default)]
pub(crate) struct Recovery {
    moved: BTreeSet<i32>,
}

impl Recovery {
    /// It has stalled, or everything begins anew with another client.
    pub(crate) fn begin(&mut self) {
        self.moved.clear();
    }

    /// Takes note of who has moved since the last look. Whether all have by now.
    pub(crate) fn look(&mut self, partitions: &[(i32, Movement)], standing: &[(i32, Standstill)]) -> bool {
        let mut all = true;
        for (partition, movement) in partitions {
            let has_moved = movement.moved || movement.work == Work::Nothing;
            if has_moved && movement.reach == Reach::Connected {
                self.moved.insert(*partition);
            }
            let is_told_otherwise = movement.waits_on_purpose
                || movement.reach != Reach::Connected
                || standing.iter().any(|(other, _)| other == partition);
            all &= is_told_otherwise || self.moved.contains(partition);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Movement =
        Movement { moved: false, work: Work::Unfinished, reach: Reach::Connected, waits_on_purpose: false };
    const MOVES: Movement = Movement { moved: true, ..STILL };

    #[test]
    fn partitions_that_never_move_in_one_second_have_recovered_once_each_has_moved() {
        let mut recovery = Recovery::default();
        assert!(!recovery.look(&[(1, STILL), (2, STILL)], &[]));
        assert!(!recovery.look(&[(1, MOVES), (2, STILL)], &[]));
        assert!(recovery.look(&[(1, STILL), (2, MOVES)], &[]));
        recovery.begin();
        assert!(!recovery.look(&[(1, STILL), (2, MOVES)], &[]), "it has stalled again");
        let idle = Movement { work: Work::Nothing, ..STILL };
        assert!(recovery.look(&[(1, idle), (2, STILL)], &[]));
        assert!(!recovery.look(&[(1, STILL), (3, STILL)], &[]), "one that is new has not moved yet");
    }

    #[test]
    fn what_cannot_move_does_not_keep_it_from_recovering_and_has_not_moved_for_it() {
        let away = Movement { reach: Reach::BrokerAway(3), work: Work::Unread, ..STILL };
        let waits = Movement { waits_on_purpose: true, ..STILL };
        for excused in [away, Movement { work: Work::Nothing, ..away }, waits] {
            let mut recovery = Recovery::default();
            assert!(!recovery.look(&[(1, STILL), (2, excused)], &[]));
            assert!(recovery.look(&[(1, MOVES), (2, excused)], &[]));
            assert!(!recovery.look(&[(1, STILL), (2, STILL)], &[]), "{excused:?}");
        }
        let mut recovery = Recovery::default();
        let unread = Movement { work: Work::Unread, ..STILL };
        assert!(!recovery.look(&[(1, unread)], &[]));
        assert!(recovery.look(&[(1, unread)], &[(1, Standstill::NotFetched)]), "it has an alarm of its own");
    }
}
