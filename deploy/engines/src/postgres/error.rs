//! # What keeps PostgreSQL from running
//!
//! Each is one sentence for a person, and says what to do.

use std::path::PathBuf;

use super::OLDEST_MAJOR;
use crate::child_process::SpawnError;
use crate::guard::GuardError;

/// Why there is no private server.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// `PG_BIN_DIR` is an order, so nothing else is tried in its place.
    #[error(
        "PG_BIN_DIR={} has no usable PostgreSQL {OLDEST_MAJOR} or newer ({reason}): correct it or unset it",
        folder.display()
    )]
    NamedFolder {
        /// What the variable says.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Neither installed nor to be had.
    #[error(
        "no PostgreSQL {OLDEST_MAJOR} or newer was found ({looked}) and none could be fetched ({cause}): \
         install PostgreSQL, or set PG_BIN_DIR to the folder with its programs, or connect this machine to \
         the internet once"
    )]
    NotFound {
        /// What was looked at and turned down.
        looked: String,
        /// Why fetching failed.
        cause: String,
    },
    /// It was fetched, but must not or cannot be used.
    #[error(
        "no PostgreSQL {OLDEST_MAJOR} or newer was found ({looked}), and the fetched build cannot be used: \
         {cause}; install PostgreSQL, or set PG_BIN_DIR to the folder with its programs"
    )]
    FetchedUnusable {
        /// What was looked at and turned down.
        looked: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Shared memory, semaphores or processes.
    #[error(
        "the kernel has no room for PostgreSQL: free some memory or raise its limits (kernel.shmmax, \
         kernel.sem, /dev/shm, the container's memory). The server said: {log}"
    )]
    NoRoomInKernel {
        /// The last lines of the server's log.
        log: String,
    },
    /// No space left on the device.
    #[error("no space is left for PostgreSQL in {}: free some, or set TMPDIR to another place", folder.display())]
    DiskFull {
        /// Where the data was to go.
        folder: PathBuf,
    },
    /// Every port that we were given was taken by somebody else in the meantime.
    #[error("PostgreSQL found no free port on 127.0.0.1: something is taking all of them. It said: {log}")]
    Port {
        /// The last lines of the server's log.
        log: String,
    },
    /// It ended before it served.
    #[error("PostgreSQL ({}) did not start. It said: {log}", binaries.display())]
    NotStarted {
        /// The folder of the programs that were tried.
        binaries: PathBuf,
        /// The last lines of the server's log.
        log: String,
    },
    /// It runs but serves nobody.
    #[error("PostgreSQL did not answer within {seconds} s: this machine may be overloaded. It said: {log}")]
    TooSlow {
        /// How long we waited.
        seconds: u64,
        /// The last lines of the server's log.
        log: String,
    },
    /// The private folder.
    #[error("cannot prepare a folder for PostgreSQL in {}: {cause}; set TMPDIR to another place", folder.display())]
    Folder {
        /// The folder, or the one it was to be made in.
        folder: PathBuf,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// A program could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl From<GuardError> for PostgresError {
    fn from(error: GuardError) -> Self {
        Self::Spawn(error.into())
    }
}

/// What a server that ended before it served meant, judged by its last words.
pub(super) fn from_log(folder: &std::path::Path, binaries: &std::path::Path, log: &str) -> PostgresError {
    let says = |words: &[&str]| words.iter().any(|word| log.contains(word));
    // The kernel says the same of a full disk and of a full set of semaphores: the line tells them apart.
    let full = log.lines().find(|line| line.contains("No space left on device"));
    let kernel = ["create semaphores", "shared memory segment"];
    if full.is_some_and(|line| !kernel.iter().any(|word| line.contains(word))) {
        return PostgresError::DiskFull { folder: folder.to_path_buf() };
    }
    let log = last_lines(log);
    if full.is_some()
        || says(&[
            "create shared memory segment",
            "anonymous shared memory",
            "create semaphores",
            "Cannot allocate memory",
        ])
    {
        return PostgresError::NoRoomInKernel { log };
    }
    if says(&["could not create any TCP/IP sockets", "could not bind"]) {
        return PostgresError::Port { log };
    }
    PostgresError::NotStarted { binaries: binaries.to_path_buf(), log }
}

/// The last lines of a log, on one line of its own.
pub(super) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "(nothing)".to_owned();
    }
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn judged(log: &str) -> String {
        from_log(Path::new("/data"), Path::new("/bin"), log).to_string()
    }

    #[test]
    fn a_full_disk_and_full_semaphores_are_told_apart() {
        let disk = judged(
            "selecting dynamic shared memory implementation ... posix\n\
             FATAL: could not write to file \"base/1\": No space left on device",
        );
        assert!(disk.contains("no space is left for PostgreSQL in /data"), "{disk}");
        let semaphores = judged("FATAL: could not create semaphores: No space left on device");
        assert!(semaphores.contains("the kernel has no room"), "{semaphores}");
    }

    #[test]
    fn no_memory_says_what_to_do() {
        let said = judged("FATAL:  could not map anonymous shared memory: Cannot allocate memory");
        assert!(said.contains("free some memory or raise its limits"), "{said}");
    }

    #[test]
    fn anything_else_shows_the_last_words() {
        let said = judged("LOG: a\n\nFATAL: invalid value for parameter\n");
        assert!(said.ends_with("It said: LOG: a | FATAL: invalid value for parameter"), "{said}");
    }
}
