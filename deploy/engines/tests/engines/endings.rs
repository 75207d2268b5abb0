//! However the parent ends, nothing stays behind.

use rustix::process::Signal;

use crate::Outcome;
use crate::victim::{self, Victim};

/// SIGKILL of the parent.
pub(crate) fn killed() -> Outcome {
    let mut victim = victim::start("plain", &[])?;
    assert_eq!(victim.remains().len(), 4, "all of it is there: {:?}", victim.remains());
    victim.process.kill()?;
    victim.process.wait()?;
    Ok(victim.leaves_nothing()?)
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
