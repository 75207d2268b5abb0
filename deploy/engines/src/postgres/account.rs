//! # Who runs the server
//!
//! Ourselves, unless we are root: PostgreSQL refuses that. Then it is the unprivileged user `postgres`, else
//! `nobody`, else number 65534. The choice binds two places: the server's folder is given to that user, and
//! the programs must lie where that user can read them, which `/root` is not.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const OVERFLOW_ID: u32 = 65534;

/// The user that PostgreSQL runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// An ordinary user's own.
    Ours,
    /// Root's stand-in.
    Other { user: u32, group: u32 },
}

impl Account {
    pub(super) fn for_servers() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::Ours;
        }
        // A system without the file has at least the number.
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| entry(&users, name))
            .unwrap_or(Self::Other { user: OVERFLOW_ID, group: OVERFLOW_ID })
    }

    /// Makes `command` run as this user.
    pub(super) fn dress(self, command: &mut Command) -> &mut Command {
        match self {
            Self::Ours => command,
            Self::Other { user, group } => command.uid(user).gid(group),
        }
    }

    /// Gives a file or folder to this user.
    pub(super) fn own(self, path: &Path) -> std::io::Result<()> {
        match self {
            Self::Ours => Ok(()),
            Self::Other { user, group } => std::os::unix::fs::chown(path, Some(user), Some(group)),
        }
    }

    /// Whether this user may walk down to `folder`. False too when it does not exist.
    pub(super) fn reaches(self, folder: &Path) -> bool {
        let Self::Other { user, group } = self else { return folder.is_dir() };
        let Ok(folder) = folder.canonicalize() else { return false };
        folder.ancestors().all(|step| {
            step.metadata().is_ok_and(|facts| {
                let needed = match (facts.uid() == user, facts.gid() == group) {
                    (true, _) => 0o100,
                    (false, true) => 0o010,
                    (false, false) => 0o001,
                };
                facts.mode() & needed != 0
            })
        })
    }
}

fn entry(users: &str, name: &str) -> Option<Account> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map(str::parse::<u32>);
    let (user, group) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    // Somebody may have made `postgres` another name of root.
    (user != 0).then_some(Account::Other { user, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104:,,,:/var/lib:/bin/bash\n\
                         nobody:*:-2:-2:Unprivileged:/var/empty:/usr/bin/false\ntoor:x:0:0::/:/bin/sh\n";

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        assert_eq!(entry(USERS, "postgres"), Some(Account::Other { user: 101, group: 104 }));
        assert_eq!(entry(USERS, "post"), None);
    }

    #[test]
    fn a_negative_number_and_root_in_disguise_are_passed_over() {
        assert_eq!(entry(USERS, "nobody"), None);
        assert_eq!(entry(USERS, "toor"), None);
    }

    #[test]
    fn the_way_to_a_private_folder_is_closed_to_others() {
        let other = Account::Other { user: OVERFLOW_ID, group: OVERFLOW_ID };
        assert!(other.reaches(Path::new("/")));
        assert!(!other.reaches(Path::new("/no/such/folder")));
    }
}
