//! # A service as a process of its own
//!
//! Started with exactly the settings it is given: variables that would be settings too are not inherited.
//! Its output is read line by line, errors included, so that what it said last is known when it ends.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engines::child_process::{ChildProcess, SpawnError};
use tokio::sync::watch;

use crate::multi_call::Service;
use crate::service_log::{Listening, LogLine};

const LAST_WORDS: usize = 3;
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// Longer than a service's own patience with work that runs.
const GOODBYE: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// How a person tells it from the others.
    pub name: String,
    /// The multi-call program.
    pub program: PathBuf,
    /// What the program is to be.
    pub service: Service,
    /// Its command and flags.
    pub arguments: Vec<String>,
    /// Its settings; names without the service's prefix, as in `HTTP__PORT`.
    pub settings: Vec<(&'static str, String)>,
}

/// Told of every line, in order.
pub type OnLine = Arc<dyn Fn(&LogLine) + Send + Sync>;

/// Why a service is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// No pipe for its output.
    #[error("cannot read what {name} says: {cause}")]
    Output {
        /// Which service.
        name: String,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended ({status}) before it was ready: {last_words}")]
    Ended {
        /// Which service.
        name: String,
        /// Its exit code or signal.
        status: ExitStatus,
        /// What it said last.
        last_words: String,
    },
    /// It runs, but is not ready.
    #[error("{name} was not ready within {} s: {last_words}", patience.as_secs())]
    NotReady {
        /// Which service.
        name: String,
        /// How long we waited.
        patience: Duration,
        /// What it said last.
        last_words: String,
    },
}

/// A running service; dropping it kills it.
#[derive(Debug)]
pub struct ServiceProcess {
    name: String,
    child: ChildProcess,
    listening: watch::Receiver<Option<Listening>>,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

impl ServiceSpec {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(self.service.name()).args(&self.arguments).stdin(Stdio::null());
        let prefix = self.service.environment_prefix();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().to_uppercase().starts_with(prefix) {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (format!("{prefix}{name}"), value)));
        command
    }

    /// Starts it and returns at once.
    pub fn start(&self, on_line: OnLine) -> Result<ServiceProcess, ServiceError> {
        let failed = |cause| ServiceError::Output { name: self.name.clone(), cause };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let child = {
            // The command keeps its ends of the pipe open until it is dropped.
            let mut command = self.command();
            command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
            ChildProcess::spawn(&mut command)?
        };
        let (tell, listening) = watch::channel(None);
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        let remembered = Arc::clone(&last_words);
        std::thread::spawn(move || read_lines(reader, &tell, &remembered, &on_line));
        Ok(ServiceProcess { name: self.name.clone(), child, listening, last_words })
    }

    /// Runs a command of the service that ends by itself.
    pub async fn run(&self, on_line: OnLine) -> Result<(), ServiceError> {
        let process = self.start(on_line)?;
        let status = process.exited().await;
        if status.success() { Ok(()) } else { Err(process.ended_early(status)) }
    }
}

impl ServiceProcess {
    /// How a person tells it from the others.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.child.id()
    }

    /// The process, to kill or to freeze.
    pub fn process(&self) -> &ChildProcess {
        &self.child
    }

    /// Returns when it has ended.
    pub async fn exited(&self) -> ExitStatus {
        self.child.exited().await
    }

    /// Returns once its line said where it listens.
    pub async fn listening(&self) -> Result<Listening, ServiceError> {
        let mut said = self.listening.clone();
        let listening = said.wait_for(Option::is_some).await.ok().and_then(|listening| *listening);
        match listening {
            Some(listening) => Ok(listening),
            // Its output has ended, so it has, or is about to.
            None => Err(self.ended_early(self.exited().await)),
        }
    }

    /// Returns once its probe says that it is ready.
    pub async fn ready(
        &self,
        client: &reqwest::Client,
        patience: Duration,
    ) -> Result<Listening, ServiceError> {
        let probed = async {
            let listening = self.listening().await?;
            let probe = format!("http://{}/health/ready", listening.management);
            while !answers_ready(client, &probe).await {
                tokio::time::sleep(PROBE_EVERY).await;
            }
            Ok(listening)
        };
        tokio::select! {
            result = probed => result,
            status = self.exited() => Err(self.ended_early(status)),
            () = tokio::time::sleep(patience) => Err(ServiceError::NotReady {
                name: self.name.clone(),
                patience,
                last_words: self.last_words(),
            }),
        }
    }

    /// SIGTERM, and SIGKILL when that is not enough.
    pub async fn stop(&self) -> ExitStatus {
        self.child.thaw();
        self.child.terminate();
        if let Ok(status) = tokio::time::timeout(GOODBYE, self.exited()).await {
            return status;
        }
        self.child.kill();
        self.exited().await
    }

    fn ended_early(&self, status: ExitStatus) -> ServiceError {
        ServiceError::Ended { name: self.name.clone(), status, last_words: self.last_words() }
    }

    fn last_words(&self) -> String {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.is_empty() { "it said nothing".to_owned() } else { Vec::from(words.clone()).join(" | ") }
    }
}

async fn answers_ready(client: &reqwest::Client, probe: &str) -> bool {
    client.get(probe).send().await.is_ok_and(|answer| answer.status().is_success())
}

fn read_lines(
    output: PipeReader,
    tell: &watch::Sender<Option<Listening>>,
    last_words: &Mutex<VecDeque<String>>,
    on_line: &OnLine,
) {
    for line in BufReader::new(output).split(b'\n') {
        // A pipe fails only when it has gone.
        let Ok(line) = line else { return };
        let line = LogLine::read(&String::from_utf8_lossy(&line));
        {
            let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
            words.push_back(line.message.clone());
            if words.len() > LAST_WORDS {
                words.pop_front();
            }
        }
        if let Some(listening) = line.listening() {
            tell.send_replace(Some(listening));
        }
        on_line(&line);
    }
}
