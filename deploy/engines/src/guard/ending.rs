//! # What the guard process does
//!
//! It waits for its pipe to end and then ends everything. It is deaf to the signals that a person or a
//! terminal sends, holds no file but its pipes, and speaks to nobody once it has said that it is there.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, getpgid, getpid, kill_process, kill_process_group, test_kill_process_group,
};
use tokio::signal::unix::{SignalKind, signal};

use super::messages::{CommandWords, Message};
use super::{READY, SWEEPER};
use crate::this_executable;

const FAST: Duration = Duration::from_secs(5);
/// PostgreSQL itself kills stragglers five seconds after an immediate shutdown began.
const IMMEDIATE: Duration = Duration::from_secs(8);
/// From SIGKILL to the moment when the last of the group has been collected.
const DEATH: Duration = Duration::from_secs(5);
const REMOVAL: Duration = Duration::from_secs(10);
/// One that hangs must not keep the others from running.
const COMMAND: Duration = Duration::from_mins(2);
const STEP: Duration = Duration::from_millis(10);

/// The guard's whole life; the number is its exit code.
pub(super) fn guard() -> i32 {
    let Ok(_deaf) = turn_deaf() else { return 1 };
    if say_ready().is_err() {
        return 1;
    }
    let Some(left) = Left::listen() else { return 0 };
    for folder in &left.folders {
        // Whatever goes wrong with one server, the rest must go too.
        drop(std::panic::catch_unwind(|| stop_server_in(folder)));
    }
    end_the_group(&left)
}

/// Handlers that nobody reads from take the place of the deadly defaults.
fn turn_deaf() -> std::io::Result<impl Drop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let mut heard = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
        heard.push(signal(kind)?);
    }
    drop(entered);
    Ok(Deaf { _heard: heard, _runtime: runtime })
}

struct Deaf {
    _heard: Vec<tokio::signal::unix::Signal>,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for Deaf {
    fn drop(&mut self) {}
}

fn say_ready() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()
}

/// What is still there at the end.
#[derive(Default)]
struct Left {
    folders: Vec<PathBuf>,
    commands: Vec<(u64, CommandWords)>,
}

impl Left {
    /// Returns what is left when the pipe ends; none if we were let go and nothing is left to do.
    fn listen() -> Option<Self> {
        let mut left = Self::default();
        let mut pipe = std::io::stdin().lock();
        while let Some(message) = Message::read(&mut pipe) {
            match message {
                Message::Protect(folder) => left.folders.push(folder),
                Message::Release(folder) => left.folders.retain(|kept| *kept != folder),
                Message::AtTheEnd(number, command) => left.commands.push((number, command)),
                Message::NotAtTheEnd(number) => left.commands.retain(|(kept, _)| *kept != number),
                Message::Dismissed => return None,
            }
        }
        Some(left)
    }

    /// Tells a sweeper all of it.
    fn tell(&self, pipe: &mut impl Write) -> std::io::Result<()> {
        for folder in &self.folders {
            Message::Protect(folder.clone()).write(pipe)?;
        }
        for (number, command) in &self.commands {
            Message::AtTheEnd(*number, command.clone()).write(pipe)?;
        }
        Ok(())
    }

    /// The commands first: they may read in the folders.
    fn clear(&self) {
        for (_, command) in self.commands.iter().rev() {
            run(&mut command.command());
        }
        for folder in &self.folders {
            remove(folder);
        }
    }
}

fn stop_server_in(folder: &Path) {
    let pid_file = crate::postgres::pid_file(folder);
    let Some(server) = postmaster(&pid_file) else { return };
    // A frozen server hears nothing before it runs again. What was not sent had nobody to go to.
    kill_process(server, Signal::CONT).ok();
    for (how, patience) in [(Signal::INT, FAST), (Signal::QUIT, IMMEDIATE)] {
        kill_process(server, how).ok();
        if within(patience, || postmaster(&pid_file).is_none()) {
            return;
        }
    }
}

/// The server named in the file, if it lives and is one of ours.
fn postmaster(pid_file: &Path) -> Option<Pid> {
    let pid = server_in(&std::fs::read_to_string(pid_file).ok()?)?;
    (getpgid(Some(pid)).ok()? == getpid()).then_some(pid)
}

/// The process id in the file's first line. While `initdb` works, it is that of a backend without a server, and
/// PostgreSQL writes it with a minus: such a one is not asked to stop, it is killed with the group.
fn server_in(pid_file: &str) -> Option<Pid> {
    let number: i32 = pid_file.lines().next()?.trim().parse().ok()?;
    if number > 0 { Pid::from_raw(number) } else { None }
}

/// Hands the rest to the sweeper: it kills this group, and with it this process. It keeps our standard output open
/// until it is done, which is how a parent that still lives knows.
fn end_the_group(left: &Left) -> i32 {
    let group = getpid();
    let sweeper = this_executable::command(SWEEPER).and_then(|mut command| {
        command
            .arg(group.as_raw_nonzero().get().to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
    });
    if let Ok(mut sweeper) = sweeper {
        // What it could not be told, nobody can tell it.
        sweeper.stdin.take().map(|mut pipe| left.tell(&mut pipe).ok());
        // Until the sweeper kills us, our id, which is the group's, cannot be given out again.
        return i32::from(sweeper.wait().is_err());
    }
    left.clear();
    kill_process_group(group, Signal::KILL).ok();
    1
}

/// The sweeper's whole life: its argument is the group, its input what else there is to do.
pub(super) fn sweep(arguments: &[OsString]) -> i32 {
    let group = arguments.first().and_then(|text| text.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let Some(group) = group else { return 2 };
    let left = Left::listen();
    kill_process_group(group, Signal::KILL).ok();
    if let Some(left) = left {
        // A process that is just dying may still make what a command is to remove.
        if !left.commands.is_empty() {
            within(DEATH, || test_kill_process_group(group).is_err());
        }
        left.clear();
    }
    0
}

/// Runs a command to its end, or to the end of our patience. That it fails can be told to nobody.
fn run(command: &mut Command) {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = quiet.process_group(0).spawn() else { return };
    let ended = within(COMMAND, || !matches!(child.try_wait(), Ok(None)));
    if !ended {
        kill_process_group(Pid::from_child(&child), Signal::KILL).ok();
        child.wait().ok();
    }
}

/// Processes that are just dying may still write into it, so once is not always enough.
fn remove(folder: &Path) {
    within(REMOVAL, || {
        std::fs::remove_dir_all(folder).ok();
        !folder.exists()
    });
}

fn within(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(STEP);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_is_asked_to_stop() {
        assert_eq!(server_in("4711\n/data\n"), Pid::from_raw(4711));
        for not_a_server in ["-26919\n/data\n", "0\n", "", "\n", "text"] {
            assert_eq!(server_in(not_a_server), None, "{not_a_server:?}");
        }
    }
}
