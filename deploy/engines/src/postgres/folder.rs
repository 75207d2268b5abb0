//! # The private folder
//!
//! Everything the server writes: data, log, and for a moment the password. It is announced to the guard
//! before it exists, and made in a place that the server's user can reach.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PostgresError;
use super::account::Account;
use crate::guard::{self, Charge, Guard};

const REMOVAL: Duration = Duration::from_secs(5);

/// Removed when dropped, or by the guard.
#[derive(Debug)]
pub(super) struct PrivateFolder {
    pub(super) path: PathBuf,
    guard: Arc<Guard>,
    /// None once the folder has gone.
    charge: Option<Charge>,
}

impl PrivateFolder {
    pub(super) fn create(account: Account) -> Result<Self, PostgresError> {
        let guard = guard::of_this_process()?;
        let place = place(account);
        let failed = |cause| PostgresError::Folder { folder: place.clone(), cause };
        let path = place.join(format!("private-postgres-{}", random_text().map_err(failed)?));
        guard.protect(&path)?;
        let charge = Some(guard.charge());
        let folder = Self { path, guard, charge };
        DirBuilder::new().mode(0o700).create(&folder.path).map_err(failed)?;
        account.own(&folder.path).map_err(failed)?;
        Ok(folder)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// What the server has said so far.
    pub(super) fn read_log(&self) -> String {
        // No log yet means that it has said nothing.
        std::fs::read(self.log())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// A file that only the server's user can read.
    pub(super) fn write_private(&self, name: &str, text: &str, account: Account) -> std::io::Result<PathBuf> {
        let path = self.path.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        account.own(&path)?;
        Ok(path)
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // A crashed server's children may still be writing into it for a moment.
        let deadline = Instant::now() + REMOVAL;
        while std::fs::remove_dir_all(&self.path).is_err() && self.path.exists() {
            if Instant::now() > deadline {
                // The guard keeps it in mind and tries again when we have gone.
                std::mem::forget(self.charge.take());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.guard.release(&self.path);
    }
}

/// `TMPDIR` where the server's user can reach it.
fn place(account: Account) -> PathBuf {
    let wished = std::env::temp_dir();
    if account.reaches(&wished) { wished } else { Path::new("/tmp").to_path_buf() }
}

/// 128 bits from the kernel, in hexadecimal.
pub(super) fn random_text() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}
