//! Settings as an operator meets them: layers, refusals, and what is shown of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod layers;
mod refusals;
mod secrets;
mod shop;
