//! The program, run as an operator does.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::broker::{Broker, DEADLINE};

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) told: String,
    /// Its standard error.
    pub(crate) complaint: String,
}

/// Runs the program until it ends.
pub(crate) fn run(broker: &Broker, arguments: &[&str]) -> Ended {
    run_at(&broker.bootstrap_servers(), arguments)
}

/// Runs the program against these brokers, until it ends.
pub(crate) fn run_at(bootstrap_servers: &str, arguments: &[&str]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_data-platform-consumer"))
        .args(arguments)
        .env("DATA_PLATFORM_CONSUMER__KAFKA__BOOTSTRAP_SERVERS", bootstrap_servers)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let told = everything(child.stdout.take().unwrap());
    let complaint = everything(child.stderr.take().unwrap());
    // Both end with the program.
    let texts = told.recv_timeout(DEADLINE).and_then(|told| Ok((told, complaint.recv_timeout(DEADLINE)?)));
    if texts.is_err() {
        child.kill().unwrap();
    }
    let code = child.wait().unwrap().code();
    let (told, complaint) = texts.expect("the command ends in time");
    let ended = Ended { code: code.expect("it ends by itself"), told, complaint };
    assert!(!ended.complaint.contains("panicked"), "{ended:?}");
    ended
}

fn everything(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (read, text) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        // Whoever wanted it may have given up.
        read.send(text).ok();
    });
    text
}
