//! # The command `audit`

use std::io::{self, Write as _};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _};
use service_chassis::settings::SettingsReport;
use shared_messages::OccurredAt;

use super::{Failure, runtime};
use crate::audit::comparison::Window;
use crate::audit::report::Report;
use crate::audit::{self, Plan};
use crate::operator::{Patience, time};
use crate::settings::Settings;
use crate::sink::SinkKind;

/// What is audited, as said on the command line.
#[derive(Debug, Clone, Args)]
pub(super) struct AuditArguments {
    /// The beginning of the time in which the events occurred, such as 2026-11-29T08:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: OccurredAt,
    /// Its end, which does not belong to it; now if it is not said
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<OccurredAt>,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
    /// The most findings of each kind that are told; all are counted
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    patience: Patience,
}

/// The promise was broken.
#[derive(Debug, thiserror::Error)]
#[error("{missing} events are missing, and {unexpected} are unexpected")]
pub(super) struct PromiseBroken {
    missing: u64,
    unexpected: u64,
}

impl AuditArguments {
    /// What no single argument tells.
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        let window = self.window();
        if window.from < window.to {
            return Ok(());
        }
        let problem = "--from must be earlier than --to";
        Err(super::Arguments::command().error(ErrorKind::ValueValidation, problem))
    }

    fn window(&self) -> Window {
        Window { from: self.from, to: self.to.unwrap_or_else(OccurredAt::now) }
    }
}

pub(super) fn run(
    settings: &Settings,
    settings_report: &SettingsReport,
    arguments: &AuditArguments,
) -> Result<(), Failure> {
    if settings.sink.kind != SinkKind::Postgres {
        let reason = "must be \"postgres\": an audit compares the topic with that sink's table";
        return Err(Failure::Settings(settings_report.reject("sink.kind", reason)));
    }
    let plan = Plan {
        window: arguments.window(),
        limit: arguments.limit,
        kafka_timeout: arguments.patience.kafka_timeout,
    };
    let report = runtime()?.block_on(audit::run(settings, plan))?;
    print(&report, arguments.json).map_err(Failure::Print)?;
    if report.is_kept() {
        return Ok(());
    }
    let (missing, unexpected) = (report.findings.missing.count(), report.findings.unexpected.count());
    Err(Failure::PromiseBroken(PromiseBroken { missing, unexpected }))
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut output, report)?;
        writeln!(output)?;
    } else {
        write!(output, "{report}")?;
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Arguments, Command};
    use super::*;

    fn window(arguments: &[&str]) -> Result<Window, clap::Error> {
        let all = ["data-platform-consumer", "audit"].iter().chain(arguments);
        let Some(Command::Audit(audit)) = Arguments::try_parse_from(all)?.command else { panic!("no audit") };
        audit.check().map(|()| audit.window())
    }

    #[test]
    fn a_window_is_two_times_or_ends_now() {
        let (from, to) = ("2026-11-29T08:00:00+09:00", "2026-11-29T01:00:00Z");
        let both = window(&["--from", from, "--to", to]).unwrap();
        assert_eq!(both.from.to_string(), OccurredAt::parse("2026-11-28T23:00:00Z").unwrap().to_string());
        assert_eq!(both.to, OccurredAt::parse(to).unwrap());
        assert!(window(&["--from", "2020-01-01T00:00Z"]).unwrap().to > both.from);
        for wrong in [
            &[][..],
            &["--to", to],
            &["--from", to, "--to", from],
            &["--from", to, "--to", to],
            &["--from", "yesterday"],
            &["--from", "2020-01-01"],
            &["--from", "2020-01-01T00:00"],
            &["--from", from, "--kafka-timeout", "0"],
        ] {
            assert_eq!(window(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}
