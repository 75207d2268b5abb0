//! # Command line
//!
//! `data-platform-consumer` serves; `settings` prints what is in force; `health` and `status` ask a running service.
//! `dead-letters` is for what could not be delivered, `positions` for where the group reads; `sink prepare` creates a table, and
//! `audit` compares it with the topic.

mod audit;
mod dead_letters;
mod positions;
mod sink;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service_chassis::command_line::{HealthArguments, SettingsArguments, check_health, print_settings};
use service_chassis::exit;
use service_chassis::health_check::{self, HealthCheckError};
use service_chassis::settings::{Loaded, SettingsError, SettingsReport};
use service_chassis::stop::StopSignals;
use service_chassis::telemetry::{self, TelemetryError};
use tokio::runtime::Runtime;
use tokio::task::JoinError;

use self::audit::{AuditArguments, PromiseBroken};
use self::positions::{PositionsCommand, PositionsFailure};
use self::sink::SinkCommand;
use crate::audit::AuditError;
use crate::operator::dead_letters::{DeadLettersCommand, DeadLettersError};
use crate::settings::{self, Settings};
use crate::sink::postgres::PrepareError;
use crate::startup::{RunError, Service, StartError};
use crate::status::Status;

const NAME: &str = "data-platform-consumer";

/// Hands every completed order to the data platform, at least once
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Default, Subcommand)]
enum Command {
    /// Read the topic and deliver, until SIGTERM or Ctrl-C (the default)
    #[default]
    Serve,
    /// Print the settings in force and where each value came from
    Settings,
    /// Ask the running service what it is doing: partitions, lag, what is in work and what waits
    Status {
        /// As JSON, for a program to read
        #[arg(long)]
        json: bool,
    },
    /// Ask the running service whether it is ready: exit code 0 if it is, 1 if not, 2 for bad settings
    Health(HealthArguments),
    /// What could not be delivered and was parked
    #[command(subcommand)]
    DeadLetters(Box<DeadLettersCommand>),
    /// Look after the sink that the settings name
    #[command(subcommand)]
    Sink(SinkCommand),
    /// Compare the topic with the table of the sink "postgres": exit code 0 if the promise was kept, 1 if not. It only
    /// reads, and disturbs nobody
    Audit(AuditArguments),
    /// Show and set where the group reads on
    #[command(subcommand)]
    Positions(PositionsCommand),
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the settings cannot be used")]
    Settings(#[from] SettingsError),
    #[error("the logs cannot be set up")]
    Telemetry(#[from] TelemetryError),
    #[error("the answer cannot be printed")]
    Print(#[source] io::Error),
    #[error(transparent)]
    Health(#[from] HealthCheckError),
    #[error("the positions command failed")]
    Positions(#[from] PositionsFailure),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("the promise was broken")]
    PromiseBroken(#[source] PromiseBroken),
    #[error("the service cannot start")]
    Start(#[from] StartError),
    #[error("the service has failed")]
    Run(#[from] RunError),
    #[error(transparent)]
    DeadLetters(#[from] DeadLettersError),
    #[error("the command broke down")]
    BrokeDown(#[source] JoinError),
}

/// Runs the command that the arguments name. The first argument is the program's own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(answer) => return exit::usage(&answer),
    };
    if let Some(Command::Audit(audit)) = &arguments.command
        && let Err(answer) = audit.check()
    {
        return exit::usage(&answer);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => exit::failure(NAME, &failure),
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let source = arguments.settings.source(settings::DEFAULTS, settings::ENVIRONMENT_PREFIX);
    let loaded = settings::load(&source)?;
    match arguments.command.clone().unwrap_or_default() {
        Command::Settings => print_settings(&loaded.report).map_err(Failure::Print),
        Command::Health(arguments) => {
            Ok(check_health(arguments, &loaded.settings.management, &loaded.report)?)
        }
        Command::Status { json } => show_status(&loaded, json),
        Command::DeadLetters(command) => dead_letters::run(*command, loaded),
        Command::Sink(SinkCommand::Prepare) => sink::prepare(&loaded),
        Command::Audit(arguments) => audit::run(&loaded.settings, &loaded.report, &arguments),
        Command::Positions(command) => {
            telemetry::init(&loaded.settings.log)?;
            Ok(positions::run(command, &loaded.settings.kafka, &loaded.report)?)
        }
        Command::Serve => serve(&loaded),
    }
}

fn show_status(loaded: &Loaded<Settings>, json: bool) -> Result<(), Failure> {
    let status: Status = health_check::ask_status(&loaded.settings.management, &loaded.report)?;
    let text = if json {
        serde_json::to_string_pretty(&status).map_err(io::Error::from).map_err(Failure::Print)? + "\n"
    } else {
        status.to_string()
    };
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(Failure::Print)
}

fn serve(loaded: &Loaded<Settings>) -> Result<(), Failure> {
    let Loaded { settings, report } = loaded;
    telemetry::init(&settings.log)?;
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let mut signals = StopSignals::listen().map_err(Failure::Runtime)?;
        let service = Service::start(settings).map_err(|error| not_started(error, report))?;
        let stop = async {
            let signal = signals.received().await;
            tracing::info!("{signal} received, stopping");
        };
        Ok(service.run_until_stopped(stop).await?)
    });
    // A call that outlived the drain is repeated by the next owner: nobody waits for it here.
    runtime.shutdown_background();
    served
}

fn runtime() -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().map_err(Failure::Runtime)
}

/// What the settings are to blame for is told as their fault, by the key.
fn not_started(error: StartError, report: &SettingsReport) -> Failure {
    if let Some(cause) = error.refused_by_the_client() {
        return Failure::Settings(settings::refused(report, cause));
    }
    match error {
        StartError::Sink(refused) => Failure::Settings(settings::refused_sink(report, &refused)),
        other @ (StartError::Join(_) | StartError::Management(_)) => Failure::Start(other),
    }
}
