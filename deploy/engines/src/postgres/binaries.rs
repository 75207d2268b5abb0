//! # Finding an installed PostgreSQL
//!
//! In this order: `PG_BIN_DIR` (an order: if it is no good, that is an error), `pg_config --bindir`, the
//! `postgres` on the `PATH`, and the folders where distributions and macOS keep it, newest first. A folder
//! counts only if both programs in it *run*, as the user who is going to run the server, and are new enough.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::Account;
use super::{OLDEST_MAJOR, PostgresError};
use crate::child_process;

/// A folder with `postgres` and `initdb` that were seen to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    /// As the program names itself, such as `15.18`.
    pub(super) version: String,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// What the search came to.
pub(super) enum Found {
    Usable(Binaries),
    /// With what was turned down, for a person to read.
    Nothing(String),
}

/// Looks everywhere. Takes a moment and blocks.
pub(super) fn find(account: Account) -> Result<Found, PostgresError> {
    if let Some(folder) = std::env::var_os("PG_BIN_DIR").filter(|value| !value.is_empty()) {
        let folder = PathBuf::from(folder);
        return match examine(&folder, account) {
            Ok(binaries) => Ok(Found::Usable(binaries)),
            Err(reason) => Err(PostgresError::NamedFolder { folder, reason }),
        };
    }
    let mut turned_down = Vec::new();
    for folder in candidates() {
        match examine(&folder, account) {
            Ok(binaries) => return Ok(Found::Usable(binaries)),
            Err(reason) => turned_down.push(format!("{}: {reason}", folder.display())),
        }
    }
    if turned_down.is_empty() {
        turned_down.push("PG_BIN_DIR, pg_config, PATH and the usual folders were looked at".to_owned());
    }
    Ok(Found::Nothing(turned_down.join("; ")))
}

/// Whether both programs in `folder` run as `account` and are new enough; else what is wrong.
pub(super) fn examine(folder: &Path, account: Account) -> Result<Binaries, String> {
    let version = version_of(&folder.join("postgres"), account)?;
    if major(&version).is_none_or(|major| major < OLDEST_MAJOR) {
        return Err(format!("version {version} is older than {OLDEST_MAJOR}"));
    }
    version_of(&folder.join("initdb"), account)?;
    Ok(Binaries { folder: folder.to_path_buf(), version })
}

fn version_of(program: &Path, account: Account) -> Result<String, String> {
    if !program.exists() {
        return Err(format!("no {}", program.file_name().unwrap_or_default().to_string_lossy()));
    }
    let mut command = Command::new(program);
    account.dress(&mut command).arg("--version").current_dir("/").env("LC_ALL", "C");
    let (status, printed) = child_process::run(&mut command).map_err(|error| error.to_string())?;
    let version = printed.split(") ").nth(1).and_then(|rest| rest.split_whitespace().next());
    match version {
        Some(version) if status.success() => Ok(version.to_owned()),
        Some(_) | None => Err(format!("does not run: {}", super::error::last_lines(&printed))),
    }
}

fn major(version: &str) -> Option<u32> {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut add = |folder: PathBuf| {
        if folder.is_dir() && !folders.contains(&folder) {
            folders.push(folder);
        }
    };
    told_by_pg_config().map(&mut add);
    on_the_path().map(&mut add);
    below("/usr/lib/postgresql", "", "bin").into_iter().for_each(&mut add);
    below("/usr", "pgsql-", "bin").into_iter().for_each(&mut add);
    add(PathBuf::from("/usr/local/pgsql/bin"));
    add(PathBuf::from("/usr/libexec/postgresql"));
    for brew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        below(brew, "postgresql@", "bin").into_iter().for_each(&mut add);
    }
    add(PathBuf::from("/Applications/Postgres.app/Contents/Versions/latest/bin"));
    below("/Applications/Postgres.app/Contents/Versions", "", "bin").into_iter().for_each(&mut add);
    folders
}

fn told_by_pg_config() -> Option<PathBuf> {
    // Not there is the usual case, and not an error.
    let (status, printed) = child_process::run(Command::new("pg_config").arg("--bindir")).ok()?;
    status.success().then(|| PathBuf::from(printed.trim()))
}

fn on_the_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let program =
        std::env::split_paths(&path).map(|folder| folder.join("postgres")).find(|it| it.is_file())?;
    // A link in /usr/local/bin has no initdb beside it; what it points to has.
    program.canonicalize().ok()?.parent().map(Path::to_path_buf)
}

/// `root/<prefix><version>/<leaf>` for each version there is, newest first.
fn below(root: &str, prefix: &str, leaf: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            Some((major(name.to_str()?.strip_prefix(prefix)?)?, entry.path().join(leaf)))
        })
        .collect();
    versions.sort_by(|one, other| other.cmp(one));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_leading_number() {
        assert_eq!(major("15.18"), Some(15));
        assert_eq!(major("18beta1"), Some(18));
        assert_eq!(major("latest"), None);
    }

    #[test]
    fn a_folder_without_the_programs_is_turned_down_by_name() {
        assert_eq!(examine(Path::new("/"), Account::Ours), Err("no postgres".to_owned()));
    }
}
