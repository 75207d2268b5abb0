//! # A reader, as a process of its own
//!
//! This program, started again: data-platform-consumer with the benchmark's platform as its sink, or librdkafka alone. The
//! consumer's settings are the defaults, except for Kafka's address, the topic, a group of its own, a port that the
//! system chooses, and what a measure is about. Its log is a pipe that is read; what it found is a line of that.

use super::broker::Broker;
use super::platform::{Manners, Platform};
use super::raw::{self, Fetch, Look};
use super::records::Topic;
use crate::Failure;
use crate::processor::{Threads, seconds_used};
use crate::report::figure;
use data_platform_consumer::settings::{self, DEFAULTS, ENVIRONMENT_PREFIX, Settings};
use data_platform_consumer::startup::Service;
use engines::child_process::ChildProcess;
use serde::{Deserialize, Serialize};
use service_chassis::settings::SettingsSource;
use service_chassis::telemetry;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const ROLE: &str = "--bench-reader";
const FOUND: &str = "bench-found ";
const LONGEST: Duration = Duration::from_mins(3);
const LAST_WORDS: usize = 5;
/// As data-platform-consumer's own.
const WORKERS: usize = 2;
/// Of the threads, those that are worth telling.
const BUSIEST: usize = 4;

/// What the process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Deliver records to a platform.
    Deliver(Manners),
    /// Only poll so many records.
    Poll {
        /// How they are fetched.
        fetch: Fetch,
        /// What is looked at.
        look: Look,
        /// How many.
        records: u64,
        /// Of the topic.
        partitions: i32,
        /// Other processes whose processor time is told.
        beside: Vec<i32>,
    },
}

/// What a reader says when it has reached its goal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// From the first call, or the first record, to the goal.
    pub(crate) seconds: f64,
    /// How long the platform took for a call, on average.
    pub(crate) call_seconds: f64,
    /// From the first call to the first one after the platform was back.
    pub(crate) seconds_until_asked: f64,
    /// The threads, busiest first: how much of a processor each used.
    pub(crate) threads: Vec<(String, f64)>,
    /// The same of the other processes that were named.
    pub(crate) beside: f64,
}

impl Found {
    /// Who used how much of a processor, as text.
    pub(super) fn usage(&self) -> String {
        let all: f64 = self.threads.iter().map(|(_, used)| used).sum();
        let busiest: Vec<String> =
            self.threads.iter().take(BUSIEST).map(|(name, used)| format!("{name} {used:.2}")).collect();
        format!("processors: reader {all:.2} ({}), broker {:.2}", busiest.join(", "), self.beside)
    }
}

/// The first call, or the first record: where measuring begins.
pub(super) struct Began {
    pub(super) at: Instant,
    threads: Threads,
    beside: Vec<(i32, f64)>,
}

impl Began {
    /// Now. These processes' time is looked at, too.
    pub(super) fn now(beside: &[i32]) -> Self {
        let beside = beside.iter().map(|id| (*id, seconds_used(*id))).collect();
        Self { beside, threads: Threads::now(), at: Instant::now() }
    }

    /// What is known by itself.
    pub(super) fn until_now(&self) -> Found {
        let seconds = self.at.elapsed().as_secs_f64();
        let beside: f64 = self.beside.iter().map(|(id, then)| seconds_used(*id) - then).sum();
        Found {
            seconds,
            call_seconds: 0.0,
            seconds_until_asked: 0.0,
            threads: self.threads.since(),
            beside: beside / seconds,
        }
    }
}

/// What was found, as a rate.
pub(super) fn rate(records: u64, found: &Found) -> f64 {
    records as f64 / found.seconds
}

/// Is a reader, if this process is to be one.
pub(crate) fn enter_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != ROLE {
        return None;
    }
    let job = arguments.next().unwrap_or_default();
    Some(match read(&job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Whoever started it reads this.
            writeln!(std::io::stderr().lock(), "reader: {failure}").ok();
            ExitCode::FAILURE
        }
    })
}

fn read(job: &str) -> Result<(), Failure> {
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
    let settings = settings::load(&source)?.settings;
    match serde_json::from_str(job)? {
        Job::Deliver(manners) => deliver(&settings, manners),
        Job::Poll { fetch, look, records, partitions, beside } => {
            tell(&raw::poll(&settings, (fetch, look), records, partitions, &beside)?);
            Ok(())
        }
    }
}

/// As the consumer's command line does it, but for the sink.
fn deliver(settings: &Settings, manners: Manners) -> Result<(), Failure> {
    telemetry::init(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let platform = Platform::new(manners, |found| tell(&found));
        let service = Service::start_with(settings, Arc::new(platform))?;
        Ok(service.run_until_stopped(std::future::pending()).await?)
    })
}

fn tell(found: &Found) {
    let text = serde_json::to_string(found).unwrap_or_else(|error| error.to_string());
    // Whoever does not read it any more has ended.
    writeln!(std::io::stdout().lock(), "\n{FOUND}{text}").ok();
}

/// A running reader; it dies with this value.
pub(super) struct Member {
    process: ChildProcess,
    found: oneshot::Receiver<Result<Found, String>>,
}

impl Member {
    /// Starts it and returns at once. `changes` are settings as variables, without their prefix.
    pub(super) fn start(
        broker: &Broker,
        topic: &Topic,
        job: &Job,
        changes: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let (reader, writer) = std::io::pipe()?;
        let process = {
            let (group, servers) = (uuid::Uuid::new_v4().to_string(), broker.bootstrap_servers());
            let own = [
                ("KAFKA__BOOTSTRAP_SERVERS", servers.as_str()),
                ("KAFKA__TOPIC", topic.name.as_str()),
                ("KAFKA__GROUP_ID", group.as_str()),
                ("MANAGEMENT__PORT", "0"),
            ];
            let mut command = Command::new(engines::this_executable::path()?);
            command.arg(ROLE).arg(serde_json::to_string(job)?);
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().to_uppercase().starts_with(ENVIRONMENT_PREFIX) {
                    command.env_remove(name);
                }
            }
            let settings = own.iter().chain(changes);
            command.envs(settings.map(|(name, value)| (format!("{ENVIRONMENT_PREFIX}__{name}"), value)));
            // The command keeps its ends of the pipe open until it is dropped.
            command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
            ChildProcess::spawn(&mut command)?
        };
        let (tell, found) = oneshot::channel();
        std::thread::spawn(move || listen(reader, tell));
        Ok(Self { process, found })
    }

    /// Its process id.
    pub(super) fn id(&self) -> i32 {
        self.process.id()
    }

    /// What it says once it has reached its goal.
    pub(super) async fn found(&mut self) -> Result<Found, Failure> {
        let found = tokio::time::timeout(LONGEST, &mut self.found).await;
        let found = found.map_err(|_| {
            format!("a reader did not reach its goal within {} s", figure(LONGEST.as_secs_f64()))
        })?;
        Ok(found??)
    }

    /// The same, and it is ended.
    pub(super) async fn finished(mut self) -> Result<Found, Failure> {
        let found = self.found().await;
        self.kill().await;
        found
    }

    /// Ends it at once.
    pub(super) async fn kill(self) {
        self.process.kill();
        self.process.exited().await;
    }
}

/// Hands on what it found, and goes on reading, so that the reader never waits for us.
fn listen(output: PipeReader, tell: oneshot::Sender<Result<Found, String>>) {
    let mut tell = Some(tell);
    let mut last_words = VecDeque::new();
    for line in BufReader::with_capacity(64 * 1024, output).lines() {
        let Ok(line) = line else { break };
        if let Some(found) = line.strip_prefix(FOUND) {
            let found = serde_json::from_str(found).map_err(|error| error.to_string());
            // Nobody waits for it any more when it took too long.
            tell.take().map(|tell| tell.send(found).ok());
        }
        last_words.push_back(line);
        if last_words.len() > LAST_WORDS {
            last_words.pop_front();
        }
    }
    let said = Vec::from(last_words).join(" | ");
    tell.map(|tell| tell.send(Err(format!("a reader ended before its goal: {said}"))).ok());
}
