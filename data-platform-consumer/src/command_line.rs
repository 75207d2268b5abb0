//! # Command line
//!
//! `data-platform-consumer` serves; `data-platform-consumer settings` prints what is in force;
//! `data-platform-consumer health` and `status` ask a running service; `data-platform-consumer dead-letters` lists, shows,
//! discards and replays what could not be delivered.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service_chassis::command_line::{HealthArguments, SettingsArguments, check_health, print_settings};
use service_chassis::exit;
use service_chassis::health_check::{self, HealthCheckError};
use service_chassis::settings::{Loaded, SettingsError};
use service_chassis::stop::StopSignals;
use service_chassis::telemetry::{self, TelemetryError};
use tokio::runtime::Runtime;
use tokio::task::JoinError;

use crate::operator::Stop;
use crate::operator::dead_letters::{self, DeadLettersCommand, DeadLettersError, Workplace};
use crate::settings::{self, Settings};
use crate::sink;
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
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("the service cannot start")]
    Start(#[from] StartError),
    #[error("the service has failed")]
    Run(#[from] RunError),
    #[error(transparent)]
    DeadLetters(#[from] DeadLettersError),
    #[error("the command broke down")]
    Broken(#[source] JoinError),
}

/// Runs the command that the arguments name. The first argument is the program's own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(answer) => return exit::usage(&answer),
    };
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
        Command::DeadLetters(command) => dead_letters(*command, loaded),
        Command::Status { json } => show_status(&loaded, json),
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
        let service = Service::start(settings).map_err(|error| match error.refused_by_the_client() {
            Some(cause) => Failure::Settings(settings::refused(report, cause)),
            None => Failure::Start(error),
        })?;
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

/// It works on a thread that may wait. A signal asks it to end, which it does in a bounded time: what is on its way is not
/// cut off.
fn dead_letters(command: DeadLettersCommand, loaded: Loaded<Settings>) -> Result<(), Failure> {
    let Loaded { settings, report } = loaded;
    telemetry::init(&settings.log)?;
    let runtime = runtime()?;
    let handle = runtime.handle().clone();
    let stop = Stop::default();
    let asked = stop.clone();
    let ended = runtime.block_on(async {
        let mut signals = StopSignals::listen().map_err(Failure::Runtime)?;
        let mut work = tokio::task::spawn_blocking(move || {
            let sink = || sink::build(&settings.sink);
            // Not locked: the sink `log` writes there, too.
            let mut out = io::stdout();
            let mut workplace = Workplace { settings: &settings, sink: &sink, out: &mut out, stop };
            dead_letters::run(&command, &mut workplace, &handle)
        });
        let done = tokio::select! {
            done = &mut work => done,
            _ = signals.received() => {
                asked.ask();
                tokio::select! {
                    done = &mut work => done,
                    // Who asks twice does not want to wait.
                    _ = signals.received() => return Err(Failure::DeadLetters(DeadLettersError::Stopped)),
                }
            }
        };
        let done = done.map_err(Failure::Broken)?;
        done.map_err(|error| match error.refused_by_the_client() {
            Some(cause) => Failure::Settings(settings::refused(&report, cause)),
            None => Failure::DeadLetters(error),
        })
    });
    runtime.shutdown_background();
    ended
}
