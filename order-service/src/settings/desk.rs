//! # Settings of the checkout desk

use super::Settings;
use crate::checkout::limits::{BatchLimits, DeskLimits};
use serde::Deserialize;
use service_chassis::settings::{SettingsError, SettingsReport};

/// Section `desk`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeskSettings {
    /// Transactions at a time.
    pub workers: usize,
    /// Most orders that wait in each place.
    pub queue_orders: usize,
    /// Most orders of one transaction.
    pub batch_orders: usize,
    /// Most lines of one transaction.
    pub batch_lines: usize,
}

impl DeskSettings {
    /// What the desk is opened with.
    pub fn limits(self) -> DeskLimits {
        let batch = BatchLimits { orders: self.batch_orders, lines: self.batch_lines };
        DeskLimits { workers: self.workers, queue_orders: self.queue_orders, batch }
    }
}

pub(super) fn check(settings: &Settings, report: &SettingsReport) -> Result<(), SettingsError> {
    let Settings { desk, database, .. } = settings;
    let must =
        |holds: bool, key: &str, reason: &str| if holds { Ok(()) } else { Err(report.reject(key, reason)) };
    must((1..=64).contains(&desk.workers), "desk.workers", "must be from 1 to 64")?;
    must(
        desk.limits().sessions() < database.pool_size,
        "desk.workers",
        "must be at most database.pool_size less 4: each worker takes a connection, the slow lane one, searches for lost COMMITs two, and the rest is for other requests",
    )?;
    must((1..=1_000_000).contains(&desk.queue_orders), "desk.queue_orders", "must be from 1 to 1000000")?;
    must((1..=5_000).contains(&desk.batch_orders), "desk.batch_orders", "must be from 1 to 5000")?;
    must((1..=50_000).contains(&desk.batch_lines), "desk.batch_lines", "must be from 1 to 50000")
}
