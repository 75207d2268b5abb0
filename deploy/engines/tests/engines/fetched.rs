//! The build that is fetched where nothing is installed.

use libtest_mimic::Failed;

use crate::victim;

/// Fetches into an empty cache and serves; the text is why it could not be tried.
pub(crate) fn works() -> Result<Option<String>, Failed> {
    let cache = std::env::temp_dir().join(format!("engines-test-cache-{}", std::process::id()));
    let tried = fetch_and_serve(cache.to_str().expect("a plain path"));
    // Not made when nothing was fetched.
    std::fs::remove_dir_all(&cache).ok();
    tried
}

fn fetch_and_serve(cache: &str) -> Result<Option<String>, Failed> {
    let mut victim = match victim::start("fetched", &[("XDG_CACHE_HOME", cache)]) {
        Ok(victim) => victim,
        Err(said) if said.contains("none could be fetched") => return Ok(Some(said)),
        Err(said) => return Err(said.into()),
    };
    assert_eq!(victim.version, "17.11");
    let kept = std::fs::read_dir(format!("{cache}/private-postgres"))?.count();
    assert_eq!(kept, 1, "only the finished build is in the cache");
    drop(victim.process.stdin.take());
    assert!(victim.process.wait()?.success());
    Ok(None)
}
