//! # In-flight budget
//!
//! How many records may be on their way to the data platform at a time, over all partitions. Calls that
//! outlive their assignment keep their place until they report, so a series of rebalances cannot put more on
//! the platform than the limit says.

/// Places for records in flight.
#[derive(Debug)]
pub(crate) struct InFlightBudget {
    limit: usize,
    taken: usize,
}

impl InFlightBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, taken: 0 }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.taken < self.limit
    }

    pub(crate) fn take(&mut self) {
        self.taken += 1;
    }

    pub(crate) fn give_back(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }
}
