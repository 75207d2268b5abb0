//! However the parent ends, nothing stays behind.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;

use crate::Outcome;
use crate::victim::{self, DEADLINE, Victim};

/// SIGKILL of the parent.
pub(crate) fn killed() -> Outcome {
    let mut victim = victim::start("plain", &[])?;
    assert_eq!(victim.remains().len(), 4, "all of it is there: {:?}", victim.remains());
    victim.process.kill()?;
    victim.process.wait()?;
    Ok(victim.leaves_nothing()?)
}

/// SIGKILL of the parent while `initdb` works: the process id in the cluster's file is no server's then.
pub(crate) fn killed_early() -> Outcome {
    let place = std::env::temp_dir().join(format!("engines-killed-early-{}", std::process::id()));
    std::fs::create_dir(&place)?;
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755))?;
    let mut process = victim::spawn("plain", &[("TMPDIR", &place.display().to_string())]);
    let made = until(|| folders(&place).iter().any(|folder| folder.join("data/postmaster.pid").exists()));
    let killed = process.kill();
    process.wait()?;
    killed?;
    let gone = until(|| folders(&place).is_empty());
    let left = folders(&place);
    std::fs::remove_dir_all(&place)?;
    assert!(made, "initdb was never seen at work");
    assert!(gone, "left behind: {left:?}");
    Ok(())
}

fn folders(place: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn until(holds: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// SIGKILL of the parent while the server and a service are stopped by SIGSTOP.
pub(crate) fn frozen() -> Outcome {
    let mut victim = victim::start("plain", &[])?;
    Victim::signal(victim.server, Signal::STOP);
    Victim::signal(victim.service, Signal::STOP);
    victim.process.kill()?;
    victim.process.wait()?;
    Ok(victim.leaves_nothing()?)
}

/// What a person or a terminal may send does not end the guard; the parent's own good end does.
pub(crate) fn deaf() -> Outcome {
    let mut victim = victim::start("plain", &[])?;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        Victim::signal(victim.guard, signal);
    }
    // The end of its input tells the victim to stop in good order, which fails if the guard has gone.
    drop(victim.process.stdin.take());
    let status = victim.process.wait()?;
    assert!(status.success(), "{status}");
    assert_eq!(victim.remains(), Vec::<String>::new(), "gone at once, not some time later");
    Ok(())
}
