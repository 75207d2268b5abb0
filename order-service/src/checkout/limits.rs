//! # Limits

/// Batches whose COMMIT was lost and whose outcome is looked for beside the workers, at most: that of the fast lane, and one more.
pub const RECOVERIES: usize = 2;

/// What one order may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderLimits {
    /// Lines.
    pub max_lines: usize,
    /// Pieces in one line.
    pub max_quantity: u32,
}

/// How much the desk takes in, and how it works it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeskLimits {
    /// Transactions at a time.
    pub workers: usize,
    /// Most orders that wait in each of three places: for their transaction, for a row that somebody else has locked, and
    /// for a key that is at the desk with another request. The next is turned away at once.
    pub queue_orders: usize,
    /// What one transaction takes of them.
    pub batch: BatchLimits,
}

impl DeskLimits {
    /// The most sessions that it uses at a time: each worker one, the slow lane's included, and each recovery.
    pub fn sessions(&self) -> usize {
        self.workers + 1 + RECOVERIES
    }
}

/// What one transaction completes at most. An order with more lines than that is a transaction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Orders.
    pub orders: usize,
    /// Their lines.
    pub lines: usize,
}
