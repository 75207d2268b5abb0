//! # A command for the end
//!
//! What no process id and no folder stands for, such as a container, is removed by a command. It is said to the guard
//! before the thing is made; the guard runs it when we have ended, however we did, after everything that we
//! started is dead (so nothing makes anew what was just removed) and before the folders go (it may read in
//! them). The tests `a_command_runs_when_its_parent_was_killed` and its neighbours prove it.

use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::messages::{CommandWords, Message};
use super::{Charge, Guard, GuardError, of_this_process};
use crate::child_process::{self, SpawnError};

static GIVEN: AtomicU64 = AtomicU64::new(1);

/// A command that the guard runs at our end. Dropping this changes nothing of that; [`AtTheEnd::now`] and
/// [`AtTheEnd::release`] do.
#[derive(Debug)]
#[must_use = "it is taken back by now() or release() only"]
pub struct AtTheEnd {
    number: u64,
    words: CommandWords,
    guard: Arc<Guard>,
    charge: Option<Charge>,
}

/// Why a command that was run early has not done its work. The guard will run it again.
#[derive(Debug, thiserror::Error)]
pub enum AtTheEndError {
    /// It could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It failed.
    #[error("{command} ended with {status}: {said}")]
    Failed {
        /// The command as a person would write it.
        command: String,
        /// Its exit code or signal.
        status: ExitStatus,
        /// What it printed.
        said: String,
    },
}

/// Has `command` run when this process has ended, however it ends: with the environment and folder that it was given,
/// else with the environment that we had when the guard started, and in `/`. It may take up to two minutes, and
/// must bear being run when there is nothing to do. Of several, the last one runs first.
pub fn at_the_end(command: &Command) -> Result<AtTheEnd, GuardError> {
    let guard = of_this_process()?;
    let number = GIVEN.fetch_add(1, Ordering::Relaxed);
    let words = CommandWords::from(command);
    let charge = Some(guard.charge());
    guard.tell(&Message::AtTheEnd(number, words.clone())).map_err(|_| GuardError::Ended)?;
    Ok(AtTheEnd { number, words, guard, charge })
}

impl AtTheEnd {
    /// Runs it now instead, and waits for it. If it fails, it stays with the guard, who tries it again at the end.
    pub fn now(self) -> Result<(), AtTheEndError> {
        let mut command = self.words.command();
        let (status, said) = child_process::run(&mut command)?;
        if status.success() {
            self.release();
            return Ok(());
        }
        Err(AtTheEndError::Failed { command: format!("{command:?}"), status, said: said.trim().to_owned() })
    }

    /// There is nothing left for it to do.
    pub fn release(mut self) {
        // A guard that has ended runs nothing any more.
        self.guard.tell(&Message::NotAtTheEnd(self.number)).ok();
        drop(self.charge.take());
    }
}

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        // Not released: the guard keeps it in mind.
        std::mem::forget(self.charge.take());
    }
}
