//! # A program to kill
//!
//! This test program, started again, which starts servers as the local stack does, tells their ids on its
//! output, and waits to be killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engines::child_process::ChildProcess;
use engines::guard;
use engines::postgres::{Origin, PostgresOptions, PrivatePostgres};
use rustix::process::{Pid, kill_process, test_kill_process};

const VICTIM: &str = "--victim";
pub(crate) const SLEEPER: &str = "--sleeper";

/// Long enough for the slowest of endings, short of a test run's patience.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// What a victim has told of itself.
pub(crate) struct Victim {
    pub(crate) process: Child,
    pub(crate) server: Pid,
    pub(crate) service: Pid,
    pub(crate) guard: Pid,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) version: String,
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Runs the victim if this process was started as one.
pub(crate) fn enter_if_asked() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(VICTIM) => std::process::exit(live(arguments.next().as_deref() == Some("fetched"))),
        Some(SLEEPER) => {
            std::io::stdin().read_to_end(&mut Vec::new()).ok();
            std::process::exit(0);
        }
        _ => {}
    }
}

fn live(fetched: bool) -> i32 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let origin = if fetched { Origin::Fetched } else { Origin::InstalledOrFetched };
    let options = PostgresOptions { origin, ..PostgresOptions::for_tests() };
    let server = match runtime.block_on(PrivatePostgres::start(options)) {
        Ok(server) => server,
        Err(error) => {
            println!("{error}");
            return 1;
        }
    };
    let mut sleeper = Command::new(std::env::current_exe().expect("our own path"));
    let service = ChildProcess::spawn(sleeper.arg(SLEEPER).stdin(Stdio::piped()).stdout(Stdio::piped()))
        .expect("starts");
    let group = rustix::process::getpgid(Pid::from_raw(service.id())).expect("lives");
    let told = (server.id(), service.id(), group.as_raw_nonzero());
    println!("{} {} {} {} {}", told.0, told.1, told.2, server.version(), server.folder().display());
    std::io::stdout().flush().expect("told");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("told to end");
    runtime.block_on(server.stop());
    drop(service);
    runtime.block_on(guard::dismiss());
    0
}

/// Starts a victim and returns at once.
pub(crate) fn spawn(kind: &str, environment: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().expect("our own path"))
        .args([VICTIM, kind])
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// Starts a victim; the error is what it said instead of starting.
pub(crate) fn start(kind: &str, environment: &[(&str, &str)]) -> Result<Victim, String> {
    let mut process = spawn(kind, environment);
    let output = process.stdout.take().expect("piped");
    let line = BufReader::new(output).lines().next().expect("says something").expect("text");
    let words: Vec<&str> = line.splitn(5, ' ').collect();
    let id = |word: &str| word.parse().ok().and_then(Pid::from_raw);
    match words.as_slice() {
        [server, service, guard, version, folder] if id(server).is_some() => Ok(Victim {
            process,
            server: id(server).expect("checked"),
            service: id(service).expect("an id"),
            guard: id(guard).expect("an id"),
            version: (*version).to_owned(),
            folder: folder.into(),
        }),
        _ => {
            process.wait().expect("ended");
            Err(line)
        }
    }
}

impl Victim {
    /// What of it is still there.
    pub(crate) fn remains(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (name, pid) in [("server", self.server), ("service", self.service), ("guard", self.guard)] {
            if test_kill_process(pid).is_ok() {
                left.push(format!("{name} {pid}"));
            }
        }
        if self.folder.exists() {
            left.push(self.folder.display().to_string());
        }
        left
    }

    /// Waits until nothing is left; else tells what is.
    pub(crate) fn leaves_nothing(&self) -> Result<(), String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = self.remains();
            match left.as_slice() {
                [] => return Ok(()),
                _ if Instant::now() > deadline => return Err(format!("left behind: {}", left.join(", "))),
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Sends a signal to one of its processes.
    pub(crate) fn signal(pid: Pid, signal: rustix::process::Signal) {
        kill_process(pid, signal).expect("it lives");
    }
}
