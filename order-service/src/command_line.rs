//! # Command line
//!
//! `order-service` serves; `order-service migrate` brings the database up to date; `order-service topics` creates
//! Kafka's topics or compares those that are there; `order-service settings` shows what is in force and where each
//! value came from; `order-service health` asks a running service; `order-service outbox` shows what waits to be published, and what
//! Kafka refuses; `order-service events` publishes stored orders again; `order-service audit` compares them with the topic.

mod audit;
mod database;
mod events;
mod outbox;

use self::database::UnusableDatabase;
use self::outbox::{OutboxCommand, OutboxCommandError};
use crate::audit::AuditError;
use crate::kafka::topics::{self, TopicsError};
use crate::migration_job::{self, MigrationJobError};
use crate::outbox::republication::RepublicationError;
use crate::settings::{self, DEFAULTS, ENVIRONMENT_PREFIX, Settings};
use crate::startup::{self, StartupError};
use clap::{Parser, Subcommand};
use service_chassis::command_line::{HealthArguments, SettingsArguments, check_health, print_settings};
use service_chassis::exit;
use service_chassis::health_check::HealthCheckError;
use service_chassis::settings::SettingsError;
use service_chassis::stop::{StopSignal, StopSignals};
use service_chassis::telemetry::{self, BufferedLogs, LogSettings, TelemetryError};
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use thiserror::Error;

const PROGRAM: &str = "order-service";

#[derive(Parser)]
#[command(name = PROGRAM, version, about = "Completes orders and publishes order-completed after commit")]
struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Serve until SIGTERM (this is what happens without a command)
    Serve,
    /// Bring the database's schema up to date, then exit
    Migrate,
    /// Create the Kafka topics that are missing, refuse those with less than the settings want, then exit
    Topics,
    /// What waits to be published, and what Kafka refuses for good
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Show the settings in force and where each came from, then exit
    Settings,
    /// Ask the running service whether it is ready: exit code 0 if it is, 1 if not, 2 for bad settings
    Health(HealthArguments),
    /// Work on the events of stored orders
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Compare the orders of a time with the topic: exit code 0 if every order has its event and every record is an
    /// order's event under its key, 1 if not, or if it cannot be told, 2 for a wrong usage. It only reads, and joins no consumer group. Memory:
    /// some 48 MB, for moments 96, for each million orders
    Audit(audit::AuditArguments),
}

/// Why the program ends with a failure.
#[derive(Debug, Error)]
enum ProgramError {
    #[error("the settings cannot be used")]
    Settings(#[source] SettingsError),
    #[error("logs cannot be set up")]
    Telemetry(#[source] TelemetryError),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("the settings cannot be shown")]
    Show(#[source] io::Error),
    #[error(transparent)]
    Health(HealthCheckError),
    #[error("the database cannot be migrated")]
    Migrate(#[source] MigrationJobError),
    #[error("the topics are not as they must be")]
    Topics(#[source] TopicsError),
    #[error("the database cannot be used")]
    Database(#[source] UnusableDatabase),
    #[error("the outbox command failed")]
    Outbox(#[source] OutboxCommandError),
    #[error("the events cannot be published again")]
    Republish(#[source] RepublicationError),
    #[error("the audit cannot be made")]
    Audit(#[source] AuditError),
    #[error("the audit found {0}")]
    Broken(String),
    #[error("{0} before it was done; run it again")]
    Stopped(StopSignal),
    #[error("the service cannot run")]
    Serve(#[source] StartupError),
}

/// The program. The first argument is its name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments).and_then(checked) {
        Ok(arguments) => arguments,
        Err(answer) => return exit::usage(&answer),
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failure(PROGRAM, &error),
    }
}

fn checked(arguments: Arguments) -> Result<Arguments, clap::Error> {
    if let Some(Command::Audit(audit)) = &arguments.command {
        audit.check()?;
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> Result<(), ProgramError> {
    let source = arguments.settings.source(DEFAULTS, ENVIRONMENT_PREFIX);
    let loaded = settings::load(&source).map_err(ProgramError::Settings)?;
    let command = arguments.command.clone().unwrap_or(Command::Serve);
    if let Command::Settings = command {
        return print_settings(&loaded.report).map_err(ProgramError::Show);
    }
    if let Command::Health(arguments) = &command {
        return check_health(*arguments, &loaded.settings.management, &loaded.report)
            .map_err(ProgramError::Health);
    }
    let _buffered = start_logs(&command, &loaded.settings.log).map_err(ProgramError::Telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(loaded.settings.http.workers)
        .enable_all()
        .build()
        .map_err(ProgramError::Runtime)?;
    let ended = runtime.block_on(execute(command, loaded.settings));
    // What still runs is a look at a Kafka or a database that does not answer, which nobody waits for any more.
    runtime.shutdown_background();
    ended
}

/// The service writes a line for each order, which would cost a fifth of what an order costs if somebody waited for it.
fn start_logs(command: &Command, settings: &LogSettings) -> Result<Option<BufferedLogs>, TelemetryError> {
    if matches!(command, Command::Serve) {
        telemetry::init_buffered(settings).map(Some)
    } else {
        telemetry::init(settings).map(|()| None)
    }
}

async fn execute(command: Command, settings: Settings) -> Result<(), ProgramError> {
    match command {
        // They were done without a runtime.
        Command::Settings | Command::Health(_) => Ok(()),
        Command::Serve => startup::serve(settings).await.map_err(ProgramError::Serve),
        Command::Migrate => {
            let migration = migration_job::run(&settings.database);
            unless_stopped(async { migration.await.map_err(ProgramError::Migrate) }).await
        }
        Command::Topics => {
            let topics = topics::ensure(&settings.kafka, &settings.topics);
            unless_stopped(async { topics.await.map_err(ProgramError::Topics) }).await
        }
        Command::Outbox(command) => {
            let done = async {
                let database = database::usable(&settings.database).await.map_err(ProgramError::Database)?;
                outbox::run(command, &database).await.map_err(ProgramError::Outbox)
            };
            unless_stopped(done).await
        }
        Command::Events(command) => unless_stopped(events::run(&settings, command)).await,
        Command::Audit(arguments) => unless_stopped(audit::run(&settings, arguments)).await,
    }
}

/// As the first process of a container it would else not be stopped by SIGTERM at all.
async fn unless_stopped(work: impl Future<Output = Result<(), ProgramError>>) -> Result<(), ProgramError> {
    let mut signals = StopSignals::listen().map_err(ProgramError::Runtime)?;
    tokio::select! {
        done = work => done,
        signal = signals.received() => Err(ProgramError::Stopped(signal)),
    }
}
