//! # Domain
//!
//! What an order is, and when it may be completed: pure rules, no I/O crate, no clock of their own.

pub mod coupon;
pub mod discount;
pub mod ids;
pub mod money;
pub mod order;
pub mod stock;
