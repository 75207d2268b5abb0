//! # Telemetry
//!
//! Logs on standard output: lines for a person, or one JSON object a line for a machine. A line's time is UTC.
//! Colours appear only on a terminal, and never where `NO_COLOR` asks for none.
//!
//! The level is checked when the settings are loaded, so that `settings` finds a wrong one as well as `serve`.

use std::io::{self, IsTerminal};

use serde::{Deserialize, Deserializer, de};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// The settings of a service's section `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// How a line is written.
    pub format: LogFormat,
    /// What is logged, as directives: `info`, or `info,order_service::outbox=debug`.
    #[serde(deserialize_with = "level")]
    pub level: String,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for a person to read.
    Text,
    /// One JSON object a line, with the event's fields beside `message`.
    Json,
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The setting `log.level` is not a list of directives.
    #[error("`log.level` is {level:?}: {reason}")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else in this process has set up logs before.
    #[error("logs are set up already")]
    AlreadySetUp(#[source] TryInitError),
}

/// Sets up this process's logs, once.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = directives(&settings.level)
        .map_err(|reason| TelemetryError::Level { level: settings.level.clone(), reason })?;
    let colours = settings.format == LogFormat::Text && colours_are_welcome();
    tracing_subscriber::registry()
        .with(lines(settings.format, io::stdout, colours))
        // For all of it, not `with_filter` for this layer: a disabled record of the `log` crate, such as
        // librdkafka's, would leave that filter's mark behind, and the thread's next event would be lost.
        .with(filter)
        .try_init()
        .map_err(TelemetryError::AlreadySetUp)
}

fn lines<W>(format: LogFormat, writer: W, colours: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(colours)
        // The layer would tell a failure to write on standard error, and panic where that is closed too: then
        // whoever reads our logs has died, and the service must go on to its orderly end.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

fn colours_are_welcome() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty())
}

fn directives(level: &str) -> Result<EnvFilter, String> {
    if level.trim().is_empty() {
        return Err("say what is logged, for example `info`".to_owned());
    }
    EnvFilter::builder().parse(level).map_err(|error| error.to_string())
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let level = String::deserialize(deserializer)?;
    directives(&level).map(|_| ()).map_err(de::Error::custom)?;
    Ok(level)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::{LogFormat, lines};
    use crate::captured_lines::CapturedLines;

    const MESSAGE: &str = "consume message=OrderCompletedMessage(occurredAt=2025-05-29T01:43, orderId=15)";

    fn logged(format: LogFormat) -> Vec<String> {
        let captured = CapturedLines::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::registry().with(lines(format, move || writer.clone(), false));
        tracing::subscriber::with_default(subscriber, || tracing::info!(order.id = 15, "{MESSAGE}"));
        captured.lines()
    }

    #[test]
    fn text_shows_the_message_as_it_is_with_its_fields() {
        let lines = logged(LogFormat::Text);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains(" INFO ") && lines[0].contains(&format!(": {MESSAGE} order.id=15")),
            "{lines:?}"
        );
    }

    #[test]
    fn json_shows_the_message_and_its_fields_side_by_side() {
        let lines = logged(LogFormat::Json);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &MESSAGE.into()));
        assert_eq!(line["order.id"], 15);
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}
