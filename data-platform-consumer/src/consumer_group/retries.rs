//! Records that wait for another call, in the order in which their waits end.

use std::collections::BTreeMap;
use std::time::Instant;

use super::AssignmentEpoch;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitingRetry {
    pub(crate) epoch: AssignmentEpoch,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Retries {
    /// The number keeps two of the same moment apart, and the earlier one first.
    waiting: BTreeMap<(Instant, u64), WaitingRetry>,
    so_far: u64,
}

impl Retries {
    pub(crate) fn add(&mut self, at: Instant, waiting: WaitingRetry) {
        self.so_far += 1;
        self.waiting.insert((at, self.so_far), waiting);
    }

    /// The one whose wait ends first, if it has ended by then.
    pub(crate) fn take(&mut self, by: Option<Instant>) -> Option<WaitingRetry> {
        let earliest = self.waiting.first_entry()?;
        let has_ended = by.is_none_or(|by| earliest.key().0 <= by);
        has_ended.then(|| earliest.remove())
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn forget(&mut self, partition: i32) {
        self.waiting.retain(|_, waiting| waiting.partition != partition);
    }

    pub(crate) fn of(&self, partition: i32) -> usize {
        self.waiting.values().filter(|waiting| waiting.partition == partition).count()
    }

    /// Whatever was waited for is over: all of them may be tried from now on, in the order in which they would have been.
    pub(crate) fn bring_forward(&mut self, now: Instant) {
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            self.add(now, waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn they_come_when_their_waits_end_and_all_at_once_in_their_order_when_these_are_over() {
        let now = Instant::now();
        let mut retries = Retries::default();
        let waiting = |offset| WaitingRetry { epoch: AssignmentEpoch::default(), partition: 0, offset };
        for (wait, offset) in [(3, 30), (1, 10), (2, 20)] {
            retries.add(now + Duration::from_secs(wait), waiting(offset));
        }
        assert_eq!(retries.take(Some(now)), None);
        assert_eq!(retries.next_at(), Some(now + Duration::from_secs(1)));
        assert_eq!(retries.take(Some(now + Duration::from_secs(1))), Some(waiting(10)));
        assert_eq!((retries.of(0), retries.of(1)), (2, 0));
        retries.bring_forward(now);
        assert_eq!(retries.take(Some(now)), Some(waiting(20)));
        assert_eq!(retries.take(None), Some(waiting(30)));
        assert_eq!(retries.take(None), None);
    }
}
