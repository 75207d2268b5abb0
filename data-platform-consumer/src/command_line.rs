//! # Command line
//!
//! `data-platform-consumer` serves; `data-platform-consumer settings` prints what is in force;
//! `data-platform-consumer health` asks a running service; `data-platform-consumer positions` shows and sets where the
//! group reads on. Commands that an operator uses on dead letters belong here too.

mod positions;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service_chassis::command_line::{HealthArguments, SettingsArguments, check_health, print_settings};
use service_chassis::exit;
use service_chassis::health_check::HealthCheckError;
use service_chassis::settings::{Loaded, SettingsError};
use service_chassis::stop::StopSignals;
use service_chassis::telemetry::{self, TelemetryError};

use self::positions::{PositionsCommand, PositionsFailure};
use crate::settings::{self, Settings};
use crate::startup::{RunError, Service, StartError};

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
    /// Ask the running service whether it is ready: exit code 0 if it is, 1 if not, 2 for bad settings
    Health(HealthArguments),
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
    #[error("the settings cannot be printed")]
    Print(#[source] io::Error),
    #[error(transparent)]
    Health(#[from] HealthCheckError),
    #[error("the positions command failed")]
    Positions(#[from] PositionsFailure),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("the service cannot start")]
    Start(#[from] StartError),
    #[error("the service has failed")]
    Run(#[from] RunError),
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
        Command::Positions(command) => {
            telemetry::init(&loaded.settings.log)?;
            Ok(positions::run(command, &loaded.settings.kafka, &loaded.report)?)
        }
        Command::Serve => serve(&loaded),
    }
}

fn serve(loaded: &Loaded<Settings>) -> Result<(), Failure> {
    let Loaded { settings, report } = loaded;
    telemetry::init(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
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
