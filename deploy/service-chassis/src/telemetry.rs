//! # Telemetry
//!
//! Logs on standard output: lines for a person, or one JSON object a line for a machine. A line's time is UTC.
//! Colours appear only on a terminal, and never where `NO_COLOR` asks for none.
//!
//! [`init`] writes each line before the code that logs it goes on. [`init_buffered`] hands lines to a thread, which writes
//! what has gathered at once: a process that is killed loses the last of them, so it is only for lines that
//! nothing rests on.
//!
//! The level is checked when the settings are loaded, so that `settings` finds a wrong one as well as `serve`.

use std::io::{self, BufWriter, IsTerminal, Write};

use serde::{Deserialize, Deserializer, de};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
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

/// How many lines may wait to be written. Whoever logs the next one waits, so that none is lost while the process lives.
const MOST_WAITING_LINES: usize = 4096;

/// Writes the lines that wait when it is dropped.
#[must_use = "lines that wait are written when it is dropped"]
pub struct BufferedLogs(#[expect(dead_code, reason = "only its end matters")] WorkerGuard);

/// Sets up this process's logs, once. A line is written when the call that logs it returns.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    init_with(settings, io::stdout)
}

/// The same with lines that a thread writes.
///
/// # Errors
/// [`TelemetryError`].
pub fn init_buffered(settings: &LogSettings) -> Result<BufferedLogs, TelemetryError> {
    let (writer, guard) = buffered(io::stdout());
    init_with(settings, writer)?;
    Ok(BufferedLogs(guard))
}

fn buffered(output: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(MOST_WAITING_LINES)
        .thread_name("logs")
        .finish(BufWriter::new(output))
}

fn init_with<W>(settings: &LogSettings, writer: W) -> Result<(), TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = directives(&settings.level)
        .map_err(|reason| TelemetryError::Level { level: settings.level.clone(), reason })?;
    let colours = settings.format == LogFormat::Text && colours_are_welcome();
    tracing_subscriber::registry()
        .with(lines(settings.format, writer, colours))
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
    use std::io::{self, Write};
    use std::sync::mpsc::{self, Sender};
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt;

    use super::{LogFormat, MOST_WAITING_LINES, buffered, lines};
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

    /// Tells what was written.
    struct Told(Sender<Vec<u8>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_buffered_line_is_written_without_another_and_all_are_at_the_end() {
        const LINES: usize = 3 * MOST_WAITING_LINES;
        let (sender, written) = mpsc::channel();
        let (writer, guard) = buffered(Told(sender));
        let subscriber = tracing_subscriber::registry().with(lines(LogFormat::Json, writer, false));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("the first");
            let line = written.recv_timeout(Duration::from_secs(10)).unwrap();
            assert!(String::from_utf8(line).unwrap().contains("the first"));
            for _ in 0..LINES {
                tracing::info!(order.id = 15, "{MESSAGE}");
            }
        });
        drop(guard);
        let bytes: Vec<u8> = written.try_iter().flatten().collect();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), LINES);
        assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
    }
}
