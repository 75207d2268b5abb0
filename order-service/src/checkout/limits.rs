//! # Limits of an order

/// What one order may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderLimits {
    /// Lines.
    pub max_lines: usize,
    /// Pieces in one line.
    pub max_quantity: u32,
}
