//! # Settings of the sink `postgres`

use std::time::Duration;

use serde::Deserialize;
use service_chassis::settings::DatabaseUrl;

use crate::sink::SinkRefused;

/// The settings `[sink.postgres]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSinkSettings {
    /// The database; its `search_path` says in which schema the table is.
    pub url: DatabaseUrl,
    /// How many batches may be written at a time, each on a session of its own.
    pub connections: usize,
    /// The most events that one statement writes.
    pub batch: usize,
    /// How long opening a session may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long one statement may take.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// How long commands wait for a database that is away.
    #[serde(with = "humantime_serde")]
    pub wait_timeout: Duration,
}

/// The rules that no type tells.
pub(in crate::sink) fn broken_rule(settings: &PostgresSinkSettings) -> Option<SinkRefused> {
    // PostgreSQL takes a limit of nothing for none.
    let a_moment = Duration::from_millis(1);
    let rules = [
        (settings.connections > 0, "sink.postgres.connections", "it must be at least 1"),
        (settings.batch > 0, "sink.postgres.batch", "it must be at least 1"),
        (settings.connect_timeout >= a_moment, "sink.postgres.connect_timeout", "it must be at least 1ms"),
        (
            settings.statement_timeout >= a_moment,
            "sink.postgres.statement_timeout",
            "it must be at least 1ms",
        ),
        (
            settings.statement_timeout <= Duration::from_hours(1),
            "sink.postgres.statement_timeout",
            "it must be at most 1h",
        ),
    ];
    let broken = rules.into_iter().find(|(holds, ..)| !holds);
    broken.map(|(_, key, reason)| SinkRefused::new(key, reason))
}
