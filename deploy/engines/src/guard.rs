//! # Guard: nothing stays behind, however we end
//!
//! A process killed by SIGKILL cleans nothing. So the first thing that is started is a guard: this same
//! executable again, in a process group of its own (a terminal's Ctrl-C does not reach it), reading from a
//! pipe whose other end only we hold. When the pipe ends, we have ended: the guard stops PostgreSQL (fast,
//! then immediate), kills whatever else is in its group, runs the commands that it was given for the end
//! ([`at_the_end()`]) and removes the folders it was told of. The tests
//! `a_killed_parent_leaves_no_process_and_no_folder` and `frozen_processes_end_too` prove it.
//!
//! **No list of process ids.** Every [`crate::child_process::ChildProcess`] is *born* into the guard's
//! process group, so there is no moment in which one runs unseen, and an id that was given out again
//! cannot be hit. The group is killed by a short-lived *sweeper* in a third group, as the guard itself is
//! a member of its own; what comes after that is the sweeper's work too.
//!
//! A folder is announced before it is made, for the same reason. One guard serves the whole process; it
//! starts when first needed. Should the guard itself be killed, [`Guard::ended`] tells, and whoever owns
//! the servers stops them in good order.

mod at_the_end;
mod ending;
mod messages;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

pub use self::at_the_end::{AtTheEnd, AtTheEndError, at_the_end};
use self::messages::Message;
use crate::this_executable;

const GUARD: &str = "--engines-guard";
const SWEEPER: &str = "--engines-sweeper";
const READY: &str = "guarding";

/// The first line of `main`: when this process was started as the guard or as the broker, it is that, and
/// never returns.
pub fn enter_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(role) = arguments.next() else { return };
    if role == GUARD {
        std::process::exit(ending::guard());
    }
    if role == SWEEPER {
        std::process::exit(ending::sweep(&arguments.collect::<Vec<OsString>>()));
    }
    if role == crate::kafka::BROKER {
        std::process::exit(crate::kafka::serve_until_told_to_end());
    }
}

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The executable could not be started again.
    #[error("cannot start the guard process: {0}")]
    Start(#[source] std::io::Error),
    /// It started, but was no guard.
    #[error("the guard process did not answer: main's first line must be engines::guard::enter_if_asked()")]
    NotEntered,
    /// It was killed, so nothing new may be started under it.
    #[error("the guard process has ended: stop, and start again")]
    Ended,
}

/// The process that outlives us for as long as it takes to clean up.
#[derive(Debug)]
pub struct Guard {
    group: u32,
    pipe: Mutex<Option<ChildStdin>>,
    life: watch::Receiver<Life>,
    /// Processes that run, folders that stand, commands that wait.
    charges: AtomicUsize,
}

/// How far a guard has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    Guarding,
    /// The process has ended; its sweeper may still be at work.
    Ended,
    /// All of it is done.
    Gone,
}

static OF_THIS_PROCESS: Mutex<Option<Arc<Guard>>> = Mutex::new(None);

/// The guard of this process, started now if there is none yet.
pub fn of_this_process() -> Result<Arc<Guard>, GuardError> {
    let mut current = OF_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(guard) = current.as_ref() {
        return if guard.has_ended() { Err(GuardError::Ended) } else { Ok(Arc::clone(guard)) };
    }
    let guard = Arc::new(Guard::start()?);
    *current = Some(Arc::clone(&guard));
    Ok(guard)
}

/// Lets the guard go, and waits until it has gone: at once if everything under it was stopped in good order, else
/// after it has seen to the rest.
pub async fn dismiss() {
    let guard = OF_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(guard) = guard {
        if guard.charges.load(Ordering::Acquire) == 0 {
            // If it cannot be told, it looks for itself.
            guard.tell(&Message::Dismissed).ok();
        }
        guard.pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        guard.reaches(Life::Gone).await;
    }
}

/// Something that the guard has to see to, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Charge(Arc<Guard>);

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.charges.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Guard {
    fn start() -> Result<Self, GuardError> {
        if std::env::args_os().nth(1).is_some_and(|role| role == GUARD) {
            // A main that does not enter would start itself without end.
            return Err(GuardError::NotEntered);
        }
        let mut child = this_executable::command(GUARD)
            .map_err(GuardError::Start)?
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(GuardError::Start)?;
        let group = child.id();
        let pipe = child.stdin.take();
        let mut output = child.stdout.take().map(BufReader::new);
        let answer = output.as_mut().and_then(|output| output.lines().next());
        let ready = matches!(answer, Some(Ok(line)) if line == READY);
        let (tell, life) = watch::channel(Life::Guarding);
        std::thread::spawn(move || {
            // An error means that somebody else has waited for it: gone either way.
            drop(child.wait());
            tell.send_replace(Life::Ended);
            // Its sweeper holds the other end; nothing is said on it any more.
            output.map(|mut output| output.read_to_end(&mut Vec::new()).ok());
            tell.send_replace(Life::Gone);
        });
        if ready {
            Ok(Self { group, pipe: Mutex::new(pipe), life, charges: AtomicUsize::new(0) })
        } else {
            Err(GuardError::NotEntered)
        }
    }

    /// The process group that everything guarded is born into.
    pub(crate) fn group(&self) -> Result<i32, GuardError> {
        if self.has_ended() {
            return Err(GuardError::Ended);
        }
        i32::try_from(self.group).map_err(|_| GuardError::Ended)
    }

    /// Counts one more process, folder or command.
    pub(crate) fn charge(self: &Arc<Self>) -> Charge {
        self.charges.fetch_add(1, Ordering::AcqRel);
        Charge(Arc::clone(self))
    }

    /// From now on this folder goes when we go. Said before it is made.
    pub(crate) fn protect(&self, folder: &Path) -> Result<(), GuardError> {
        self.tell(&Message::Protect(folder.to_owned())).map_err(|_| GuardError::Ended)
    }

    /// The folder was removed by its owner.
    pub(crate) fn release(&self, folder: &Path) {
        // A guard that has ended holds nothing that must be released.
        self.tell(&Message::Release(folder.to_owned())).ok();
    }

    /// Returns when the guard process has ended, which it does only when dismissed or killed.
    pub async fn ended(&self) {
        self.reaches(Life::Ended).await;
    }

    fn has_ended(&self) -> bool {
        *self.life.borrow() >= Life::Ended
    }

    async fn reaches(&self, point: Life) {
        // The sender's thread cannot go without having said so.
        self.life.clone().wait_for(|life| *life >= point).await.ok();
    }

    fn tell(&self, message: &Message) -> std::io::Result<()> {
        match self.pipe.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(pipe) => message.write(pipe),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}
