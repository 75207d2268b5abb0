//! # Child processes
//!
//! A process of ours that cannot outlive us: it is born into the [`crate::guard`]'s process group, which
//! also keeps a terminal's Ctrl-C away from it. Dropping the handle kills it.
//!
//! A thread waits for its end *without* collecting it, and collects it under the same lock that signals are
//! sent under: a signal therefore never reaches a stranger who was given the id anew. No runtime is
//! involved, so a handle may be used from any.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

use crate::guard::{self, GuardError};

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Nothing is started unguarded.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The system refused, or there is no such program.
    #[error("cannot start {program}: {cause}")]
    Start {
        /// The program's path.
        program: String,
        /// The system's reason.
        cause: std::io::Error,
    },
}

/// A running process, or one that has ended and whose exit status is known.
#[derive(Debug)]
pub struct ChildProcess {
    pid: Pid,
    /// None once it was collected; signals are sent only under this lock.
    running: Arc<Mutex<Option<Child>>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl ChildProcess {
    /// Starts `command` in the guard's group.
    pub fn spawn(command: &mut Command) -> Result<Self, SpawnError> {
        let guard = guard::of_this_process()?;
        let charge = guard.charge();
        let child = command.process_group(guard.group()?).spawn().map_err(|cause| SpawnError::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            cause,
        })?;
        let pid = Pid::from_child(&child);
        let running = Arc::new(Mutex::new(Some(child)));
        let (tell, exit) = watch::channel(None);
        let waiting = Arc::clone(&running);
        std::thread::spawn(move || {
            wait_uncollected(pid);
            let mut running = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let status = running.take().and_then(|mut child| child.wait().ok());
            drop((running, charge));
            tell.send_replace(Some(status.unwrap_or_default()));
        });
        Ok(Self { pid, running, exit })
    }

    /// The process id, to show to a person.
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Its standard input, if it was piped and nobody took it yet.
    pub fn take_stdin(&self) -> Option<ChildStdin> {
        self.child(|child| child.stdin.take())
    }

    /// Its standard output, if it was piped and nobody took it yet.
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        self.child(|child| child.stdout.take())
    }

    /// Its standard error, if it was piped and nobody took it yet.
    pub fn take_stderr(&self) -> Option<ChildStderr> {
        self.child(|child| child.stderr.take())
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Returns when it has ended.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = exit.wait_for(Option::is_some).await.map(|status| *status);
        status.ok().flatten().unwrap_or_default()
    }

    /// SIGTERM: asks it to finish.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGINT: PostgreSQL's *fast* shutdown.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// SIGQUIT: PostgreSQL's *immediate* shutdown.
    pub fn quit(&self) {
        self.signal(Signal::QUIT);
    }

    /// SIGKILL: ends it, frozen or not.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGSTOP: it stays, but does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            // It may be a zombie by now, and that is what the caller wanted.
            kill_process(self.pid, signal).ok();
        }
    }

    fn child<T>(&self, take: impl FnOnce(&mut Child) -> Option<T>) -> Option<T> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(take)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn wait_uncollected(pid: Pid) {
    while let Err(error) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
        if error != rustix::io::Errno::INTR {
            return;
        }
    }
}

/// Runs a short command to its end, in the guard's group, and returns its status and what it printed.
pub fn run(command: &mut Command) -> Result<(ExitStatus, String), SpawnError> {
    use std::process::Stdio;

    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let guard = guard::of_this_process()?;
    let _charge = guard.charge();
    let failed = |program: String| move |cause| SpawnError::Start { program, cause };
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.process_group(guard.group()?).spawn().map_err(failed(program.clone()))?;
    // Both pipes at once, or a full one would stall the other.
    let stderr = child.stderr.take();
    let errors = std::thread::spawn(move || read_all(stderr));
    let mut printed = read_all(child.stdout.take());
    printed.push_str(&errors.join().unwrap_or_default());
    let status = child.wait().map_err(failed(program))?;
    Ok((status, printed))
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    // What was read before a failure is still worth showing.
    pipe.map(|mut pipe| pipe.read_to_end(&mut bytes).ok());
    String::from_utf8_lossy(&bytes).into_owned()
}
