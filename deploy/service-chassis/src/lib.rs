//! # Service chassis
//!
//! What a service needs to be deployed, and nothing of what it is for: its settings with the origin of
//! each value, its logs, alarms, a management port for probes and metrics, a health check that asks it, the stop signal, and one convention
//! for how a program that cannot start says so. Both services stand on it, so that an operator learns
//! these things once.
//!
//! It knows no order, no database driver and no Kafka client.

pub mod command_line;
pub mod settings;

pub mod telemetry;

pub mod alarms;
pub mod health_check;
pub mod listening;
pub mod management;
pub mod metrics;

pub mod exit;
pub mod stop;
pub mod visible;

#[cfg(test)]
mod captured_lines;
