//! # The mock cluster, in a process of its own
//!
//! This executable, started again; it takes one order a line on its standard input and answers each with a
//! line. When the input ends, so does it.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};

use super::MockBroker;
use crate::child_process::{ChildProcess, SpawnError};
use crate::this_executable;

pub(crate) const BROKER: &str = "--engines-broker";
const DONE: &str = "done";

/// Why the broker did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The process could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It ended, or was killed.
    #[error("the broker process has ended: {0}")]
    Gone(std::io::Error),
    /// The mock cluster said no.
    #[error("the broker refused: {0}")]
    Refused(String),
}

/// A cluster in memory that goes when this value goes.
#[derive(Debug)]
pub struct BrokerProcess {
    process: ChildProcess,
    line: Mutex<Line>,
    bootstrap_servers: String,
}

#[derive(Debug)]
struct Line {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl BrokerProcess {
    /// Starts a cluster of so many brokers on 127.0.0.1 and returns once it listens.
    pub fn start(brokers: u16) -> Result<Self, BrokerError> {
        let mut command = this_executable::command(BROKER).map_err(BrokerError::Gone)?;
        command.arg(brokers.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let process = ChildProcess::spawn(command.current_dir("/"))?;
        let (Some(orders), Some(answers)) = (process.take_stdin(), process.take_stdout()) else {
            return Err(gone());
        };
        let mut line = Line { orders, answers: BufReader::new(answers).lines() };
        let bootstrap_servers = line.answer()?;
        Ok(Self { process, line: Mutex::new(line), bootstrap_servers })
    }

    /// The addresses, as the setting `bootstrap.servers` wants them.
    pub fn bootstrap_servers(&self) -> String {
        self.bootstrap_servers.clone()
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.process.id()
    }

    /// Creates a topic.
    pub fn create_topic(&self, name: &str, partitions: i32, replication: i32) -> Result<(), BrokerError> {
        self.order(&format!("create-topic {name} {partitions} {replication}"))
    }

    /// All brokers cut their connections and take no new ones.
    pub fn all_down(&self) -> Result<(), BrokerError> {
        self.order("down")
    }

    /// All brokers take connections again.
    pub fn all_up(&self) -> Result<(), BrokerError> {
        self.order("up")
    }

    /// SIGSTOP: connections stay open and nothing is answered, which is worse for a client than a broker that is down.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// SIGCONT: it goes on where it was.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Returns when the broker has ended, which nobody here asked it to.
    pub async fn ended(&self) {
        self.process.exited().await;
    }

    /// Ends it.
    pub async fn stop(self) {
        self.process.kill();
        self.process.exited().await;
    }

    fn order(&self, order: &str) -> Result<(), BrokerError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(line.orders, "{order}").map_err(BrokerError::Gone)?;
        match line.answer()? {
            answer if answer == DONE => Ok(()),
            answer => Err(BrokerError::Refused(answer)),
        }
    }
}

impl Line {
    fn answer(&mut self) -> Result<String, BrokerError> {
        self.answers.next().ok_or_else(gone)?.map_err(BrokerError::Gone)
    }
}

fn gone() -> BrokerError {
    BrokerError::Gone(std::io::ErrorKind::UnexpectedEof.into())
}

/// The broker process's whole life; the number is its exit code.
pub(crate) fn serve_until_told_to_end() -> i32 {
    let brokers = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1);
    let served = MockBroker::start(brokers).map_err(|error| error.to_string()).and_then(|broker| {
        say(&broker.bootstrap_servers())?;
        for order in std::io::stdin().lock().lines() {
            let order = order.map_err(|error| error.to_string())?;
            say(obey(&broker, &order).as_deref().unwrap_or_else(|refusal| refusal))?;
        }
        Ok(())
    });
    i32::from(served.is_err())
}

fn say(line: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| error.to_string())
}

fn obey(broker: &MockBroker, order: &str) -> Result<String, String> {
    let words: Vec<&str> = order.split(' ').collect();
    let number = |text: &str| text.parse::<i32>().map_err(|error| error.to_string());
    let done = match words.as_slice() {
        ["create-topic", name, partitions, replication] => {
            broker.create_topic(name, number(partitions)?, number(replication)?)
        }
        ["down"] => broker.cluster().broker_down(-1),
        ["up"] => broker.cluster().broker_up(-1),
        _ => return Err(format!("unknown order: {order}")),
    };
    done.map(|()| DONE.to_owned()).map_err(|error| error.to_string())
}
