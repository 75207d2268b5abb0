//! Commands for the end run exactly when they are due: once nothing of the parent lives any more.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use engines::child_process::ChildProcess;
use engines::guard::{self, at_the_end};

use crate::Outcome;
use crate::victim::{DEADLINE, SLEEPER};

const COMMANDER: &str = "--commander";
const NOTES: &str = "NOTES";

/// What is noted, in that order: first by the living parent, then, newest first, by the guard.
const ALL: &str = "now, gone\nsecond in /, gone\nfirst in /tmp, gone\n";

/// Runs the program that gives the commands, if this process was started as that.
pub(crate) fn enter_if_asked() {
    if std::env::args().nth(1).is_some_and(|role| role == COMMANDER) {
        give_commands();
        std::process::exit(0);
    }
}

/// A command that notes `what`, and whether the service still lives.
fn noting(what: &str, service: Option<&ChildProcess>) -> Command {
    let mut command = Command::new("sh");
    let lives = r#"kill -0 "$SERVICE" 2>/dev/null && state=alive || state=gone"#;
    command.args(["-c", &format!(r#"{lives}; echo "{what}, $state" >>"${NOTES}""#)]);
    command.env("SERVICE", service.map(|service| service.id().to_string()).unwrap_or_default());
    command
}

fn give_commands() {
    let mut sleeper = Command::new(std::env::current_exe().expect("our own path"));
    let service = ChildProcess::spawn(sleeper.arg(SLEEPER).stdin(Stdio::piped())).expect("starts");
    let given = |command: &Command| at_the_end(command).expect("the guard hears");
    let _first = given(noting("first in $PWD", Some(&service)).current_dir("/tmp"));
    let _second = given(&noting("second in $PWD", Some(&service)));
    given(&noting("released", None)).release();
    given(&noting("now", None)).now().expect("it runs");
    let failing = given(Command::new("sh").args(["-c", "echo no >&2; exit 3"])).now();
    println!("{}", failing.expect_err("it fails"));
    std::io::stdout().flush().expect("told");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("told to end");
    // The service was forgotten, so it is the guard's to end too.
    std::mem::forget(service);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(guard::dismiss());
}

/// The program, once it has given its commands.
struct Commander {
    process: Child,
    notes: PathBuf,
    said: String,
}

impl Commander {
    fn start(name: &str) -> Self {
        let notes = std::env::temp_dir().join(format!("engines-notes-{name}-{}", std::process::id()));
        let mut process = Command::new(std::env::current_exe().expect("our own path"))
            .arg(COMMANDER)
            .env(NOTES, &notes)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let output = process.stdout.take().expect("piped");
        let said = BufReader::new(output).lines().next().expect("says something").expect("text");
        Self { process, notes, said }
    }

    fn noted(&self) -> String {
        read(&self.notes)
    }
}

fn read(notes: &Path) -> String {
    std::fs::read_to_string(notes).unwrap_or_default()
}

impl Drop for Commander {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_file(&self.notes).ok();
    }
}

/// SIGKILL: what was not released runs, newest first, after the service's death; what was released or has run does not.
pub(crate) fn killed() -> Outcome {
    let mut commander = Commander::start("killed");
    assert_eq!(commander.noted(), "now, gone\n");
    assert!(commander.said.ends_with("ended with exit status: 3: no"), "{}", commander.said);
    commander.process.kill()?;
    commander.process.wait()?;
    let deadline = Instant::now() + DEADLINE;
    while commander.noted().len() < ALL.len() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(commander.noted(), ALL);
    Ok(())
}

/// Who dismisses the guard goes on only when all of it is done.
pub(crate) fn good_end() -> Outcome {
    let mut commander = Commander::start("good-end");
    drop(commander.process.stdin.take());
    let status = commander.process.wait()?;
    assert!(status.success(), "{status}");
    assert_eq!(commander.noted(), ALL, "at once, not some time later");
    Ok(())
}
