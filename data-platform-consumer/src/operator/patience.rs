//! How long a command waits for Kafka, the same for all of them.

use std::time::Duration;

use clap::Args;
use humantime_serde::re::humantime::parse_duration;

/// Flattened into a command's arguments.
#[derive(Debug, Clone, Copy, Args)]
pub struct Patience {
    /// How long Kafka may say nothing
    #[arg(long, value_name = "DURATION", value_parser = patience, default_value = "30s")]
    pub kafka_timeout: Duration,
}

/// librdkafka counts milliseconds in 32 bits, and takes none at all for a wait without end.
fn patience(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    let bounds = Duration::from_millis(100)..=Duration::from_hours(1);
    if bounds.contains(&duration) { Ok(duration) } else { Err("it must be from 100ms to 1h".to_owned()) }
}
