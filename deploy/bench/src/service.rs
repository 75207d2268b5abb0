//! # order-service, as a process of its own
//!
//! This program, started again under the service's name. Its settings are the defaults, except: ports that the
//! system chooses, the addresses of database and Kafka, and what a measure is about (`relay.enabled`, `log.level`).
//! Its log is a pipe that is read and thrown away, as a container's engine would read it.

use crate::Failure;
use engines::child_process::{self, ChildProcess};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::oneshot;

const NAME: &str = "order-service";
const PREFIX: &str = "ORDER_SERVICE__";
const START: Duration = Duration::from_secs(30);

/// The service's arguments, if this process is to be order-service.
pub(crate) fn asked_for() -> Option<impl Iterator<Item = OsString>> {
    (std::env::args_os().nth(1)? == NAME).then(|| std::env::args_os().skip(1))
}

/// A running order-service; it dies with this value.
pub(crate) struct Service {
    process: ChildProcess,
    /// Where buyers reach it.
    pub(crate) address: SocketAddr,
}

impl Service {
    /// Starts it and returns once it takes orders. `changes` are settings as variables, without their prefix.
    pub(crate) async fn start(
        database_url: &str,
        bootstrap_servers: &str,
        changes: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let (reader, writer) = std::io::pipe()?;
        let process = {
            let own = [
                ("HTTP__PORT", "0"),
                ("MANAGEMENT__PORT", "0"),
                ("DATABASE__URL", database_url),
                ("KAFKA__BOOTSTRAP_SERVERS", bootstrap_servers),
            ];
            let mut command = command(own.iter().chain(changes))?;
            // The command keeps its ends of the pipe open until it is dropped.
            command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
            ChildProcess::spawn(&mut command)?
        };
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || drain(reader, tell));
        let address = tokio::time::timeout(START, told)
            .await
            .map_err(|_| "order-service was not ready in time")?
            .map_err(|_| "order-service ended before it was ready")?;
        Ok(Self { process, address: address? })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> i32 {
        self.process.id()
    }

    /// Ends it at once; what it leaves goes with its database.
    pub(crate) async fn kill(self) {
        self.process.kill();
        self.process.exited().await;
    }
}

/// `order-service migrate`.
pub(crate) async fn migrate(database_url: String) -> Result<(), Failure> {
    let mut command = command([("DATABASE__URL", database_url.as_str())].iter())?;
    command.arg("migrate");
    let (status, printed) = tokio::task::spawn_blocking(move || child_process::run(&mut command)).await??;
    if status.success() { Ok(()) } else { Err(format!("the database cannot be migrated: {printed}").into()) }
}

/// This program as order-service, with these settings and none of the caller's.
fn command<'s>(settings: impl Iterator<Item = &'s (&'s str, &'s str)>) -> Result<Command, Failure> {
    let mut command = Command::new(engines::this_executable::path()?);
    command.arg(NAME);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_uppercase().starts_with(PREFIX) {
            command.env_remove(name);
        }
    }
    command.envs(settings.map(|(name, value)| (format!("{PREFIX}{name}"), value)));
    Ok(command)
}

/// Tells where it listens, then keeps the pipe empty with as little work as that takes.
fn drain(output: PipeReader, tell: oneshot::Sender<Result<SocketAddr, String>>) {
    let mut output = BufReader::with_capacity(64 * 1024, output);
    let mut said = String::new();
    let address = loop {
        let from = said.len();
        match output.read_line(&mut said) {
            Ok(length) if length > 0 => {}
            Ok(_) | Err(_) => break Err(format!("order-service ended before it was ready: {said}")),
        }
        if let Some((_, rest)) = said[from..].split_once("listening http=") {
            let address = rest.split_whitespace().next().unwrap_or_default();
            break address.parse().map_err(|_| format!("not an address: {address}"));
        }
    };
    // Nobody waits for it any more when the start took too long.
    tell.send(address).ok();
    let mut thrown_away = vec![0; 64 * 1024];
    while output.read(&mut thrown_away).is_ok_and(|length| length > 0) {}
}
