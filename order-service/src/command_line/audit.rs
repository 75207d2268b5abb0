//! `order-service audit`

use super::ProgramError;
use super::database::usable;
use crate::audit::comparison::Window;
use crate::audit::{self, Plan};
use crate::settings::Settings;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory};
use humantime_serde::re::humantime::parse_duration;
use service_chassis::command_line::unless_closed;
use shared_messages::OccurredAt;
use std::io::{self, Write};
use std::time::Duration;

/// What is audited, and how it is told.
#[derive(Clone, Copy, Debug, Args)]
#[command(group(ArgGroup::new("time").required(true).args(["from", "last"])))]
pub(super) struct AuditArguments {
    /// From when the orders were completed, such as 2026-11-29T08:00Z; seconds may be told, and without a zone it is UTC
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<DateTime<Utc>>,
    /// Until when, exclusively; until now, if nothing is said
    #[arg(long, value_name = "TIME", value_parser = time, requires = "from")]
    to: Option<DateTime<Utc>>,
    /// Those of the last hours, such as 1h or "2days 12h", instead of --from and --to
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "to")]
    last: Option<Duration>,
    /// How many findings of each kind are listed; all of them are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Exit code 1 for repeated events, too, which at-least-once allows
    #[arg(long)]
    strict: bool,
    /// How long Kafka may say nothing
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    kafka_timeout: Duration,
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    OccurredAt::parse(text)
        .map(|time| time.as_datetime())
        .map_err(|cause| format!("{cause}: it must be like 2026-11-29T08:00Z or 2026-11-29T17:00:00+09:00"))
}

impl AuditArguments {
    /// What no single argument tells.
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        let window = self.window(Utc::now());
        if window.is_some_and(|window| window.from < window.to) {
            return Ok(());
        }
        let problem = "--from must be earlier than --to, and both in the time that a calendar has";
        Err(super::Arguments::command().error(ErrorKind::ValueValidation, problem))
    }

    fn window(&self, now: DateTime<Utc>) -> Option<Window> {
        let to = self.to.unwrap_or(now);
        let from = match (self.last, self.from) {
            (Some(last), _) => to.checked_sub_signed(TimeDelta::from_std(last).ok()?)?,
            (None, from) => from?,
        };
        // As exact as the database is.
        Some(Window { from: from.trunc_subsecs(6), to: to.trunc_subsecs(6) })
    }
}

pub(super) async fn run(settings: &Settings, arguments: AuditArguments) -> Result<(), ProgramError> {
    let now = Utc::now();
    let window = arguments.window(now).unwrap_or(Window { from: now, to: now });
    let plan = Plan { window, limit: arguments.limit, kafka_timeout: arguments.kafka_timeout };
    usable(&settings.database).await.map_err(ProgramError::Database)?;
    let report = audit::run(settings, plan).await.map_err(ProgramError::Audit)?;
    let mut output = io::stdout().lock();
    let written = if arguments.json {
        serde_json::to_writer(&mut output, &report).map_err(io::Error::from).and_then(|()| writeln!(output))
    } else {
        write!(output, "{report}")
    };
    unless_closed(written.and_then(|()| output.flush())).map_err(ProgramError::Show)?;
    report.broken(arguments.strict).map_or(Ok(()), |broken| Err(ProgramError::Broken(broken)))
}

#[cfg(test)]
mod tests {
    use super::super::Arguments;
    use super::*;
    use crate::command_line::Command;
    use clap::Parser;

    fn window(arguments: &[&str]) -> Result<Window, clap::Error> {
        let now = time("2026-11-29T12:00:00Z").unwrap();
        let all = ["order-service", "audit"].iter().chain(arguments);
        let Some(Command::Audit(audit)) = Arguments::try_parse_from(all)?.command else { panic!("no audit") };
        audit.check().map(|()| audit.window(now).unwrap())
    }

    #[test]
    fn a_window_is_two_times_or_the_last_of_it() {
        let (from, to) = ("2026-11-29T08:00:00+09:00", "2026-11-29T01:00:00Z");
        let both = window(&["--from", from, "--to", to]).unwrap();
        assert_eq!(both, Window { from: time("2026-11-28T23:00:00Z").unwrap(), to: time(to).unwrap() });
        let last = window(&["--last", "90m"]).unwrap();
        assert_eq!(last.from, time("2026-11-29T10:30:00Z").unwrap());
        assert_eq!(last.to, time("2026-11-29T12:00:00Z").unwrap());
        for wrong in [
            &[][..],
            &["--to", to],
            &["--from", to, "--to", from],
            &["--from", "yesterday"],
            &["--last", "1h", "--from", from],
            &["--last", "1000000000y"],
        ] {
            assert_eq!(window(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn a_time_needs_no_seconds_and_both_ways_to_say_it_are_shown() {
        let whole = time("2026-11-29T00:00:00Z");
        for form in ["2026-11-29T00:00Z", "2026-11-29T09:00+09:00", "2026-11-29T00:00"] {
            assert_eq!(time(form), whole, "{form}");
        }
        let told = window(&["--from", "yesterday"]).unwrap_err().to_string();
        assert!(told.contains("2026-11-29T08:00Z"), "{told}");
        let told = window(&[]).unwrap_err().to_string();
        assert!(told.contains("--from <TIME>") && told.contains("--last <DURATION>"), "{told}");
    }
}
