//! # This executable, started again
//!
//! Guard and broker need no binary of their own: they are the running program with a first argument that
//! no command line uses.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Linux keeps the running program reachable, whatever became of its file.
const RUNNING: &str = "/proc/self/exe";

/// The program we are.
///
/// Its path, as a process list shows it better; unless a rebuild put another program there.
pub fn path() -> std::io::Result<PathBuf> {
    let named = std::env::current_exe()?;
    let running = Path::new(RUNNING);
    if !running.exists() || same_file(&named, running) { Ok(named) } else { Ok(running.to_owned()) }
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// A command that runs the program we are, with `role` as its first argument.
pub(crate) fn command(role: &str) -> std::io::Result<Command> {
    let mut command = Command::new(path()?);
    command.arg(role);
    Ok(command)
}
