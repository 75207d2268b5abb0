//! A program that runs, and what it says.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use engines::child_process::ChildProcess;
use tokio::sync::watch;

/// How long anything may take that must happen. Long, because a loaded machine is no failure.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

/// Killed when this value goes.
pub(crate) struct Program {
    process: ChildProcess,
    input: Option<ChildStdin>,
    lines: watch::Receiver<Vec<String>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()))
    }

    /// Its standard input stays open until [`Self::end_input`], or until we have ended.
    pub(crate) fn start_with_input(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::piped()))
    }

    fn spawn(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = ChildProcess::spawn(command).unwrap_or_else(|error| panic!("{error}"));
        let (sender, lines) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        listen(process.take_stdout(), Arc::clone(&sender));
        listen(process.take_stderr(), sender);
        Self { input: process.take_stdin(), process, lines }
    }

    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Returns once so many of its lines hold `text`; it must not end before.
    pub(crate) async fn says(&self, times: usize, text: &str) {
        let mut lines = self.lines.clone();
        let said = lines.wait_for(|lines| count(lines, text) >= times);
        let said = tokio::time::timeout(DEADLINE, said).await;
        assert!(matches!(said, Ok(Ok(_))), "did not say {times} times: {text}\n{}", self.everything());
    }

    /// How many of its lines so far hold `text`.
    pub(crate) fn said(&self, text: &str) -> usize {
        count(&self.lines.borrow(), text)
    }

    /// All that it said.
    pub(crate) fn everything(&self) -> String {
        self.lines.borrow().join("\n")
    }

    /// SIGKILL.
    pub(crate) async fn kill(self) {
        self.process.kill();
        self.process.exited().await;
    }

    /// SIGTERM, and what it ended with.
    pub(crate) async fn stop(&self) -> ExitStatus {
        self.process.terminate();
        self.ended().await
    }

    /// Returns when it has ended and all that it said was heard.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let mut lines = self.lines.clone();
        let silent = async { while lines.changed().await.is_ok() {} };
        let ended = tokio::time::timeout(DEADLINE, silent).await;
        assert!(ended.is_ok(), "has not ended\n{}", self.everything());
        self.process.exited().await
    }
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

fn listen(pipe: Option<impl Read + Send + 'static>, heard: Arc<watch::Sender<Vec<String>>>) {
    let pipe = BufReader::new(pipe.expect("it was piped"));
    std::thread::spawn(move || {
        for line in pipe.lines().map_while(Result::ok) {
            heard.send_modify(|lines| lines.push(line));
        }
    });
}
