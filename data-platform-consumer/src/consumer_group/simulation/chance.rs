//! Chance that a seed decides: the same seed, the same history.

use std::ops::Range;
use std::time::Duration;

/// `SplitMix64`, which is small, quick, and good enough to make histories differ.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    pub(super) fn number(&mut self, within: Range<u64>) -> u64 {
        within.start + self.next() % (within.end - within.start)
    }

    pub(super) fn count(&mut self, within: Range<usize>) -> usize {
        let width = u64::try_from(within.end - within.start).unwrap();
        within.start + usize::try_from(self.next() % width).unwrap()
    }

    pub(super) fn percent(&mut self, of_a_hundred: u64) -> bool {
        self.number(0..100) < of_a_hundred
    }

    pub(super) fn millis(&mut self, within: Range<u64>) -> Duration {
        Duration::from_millis(self.number(within))
    }

    pub(super) fn one_of<T: Copy>(&mut self, those: &[T]) -> T {
        those[self.count(0..those.len())]
    }
}
