//! What befell the consumers, told as it happens and counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What befalls a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGTERM.
    Stopped,
    /// SIGKILL.
    Killed,
    /// SIGSTOP and SIGCONT, after a time that the group forgives or not.
    Frozen,
}

/// How often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultCounts {
    pub(crate) stopped: usize,
    pub(crate) killed: usize,
    pub(crate) frozen: usize,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Faults {
    began: Instant,
    counts: Arc<Mutex<FaultCounts>>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { began: Instant::now(), counts: Arc::default() }
    }
}

impl Faults {
    pub(crate) fn befalls(&self, fault: Fault, member: &str, more: &str) {
        println!("  {:7.2} s  {member} is {}{more}", self.began.elapsed().as_secs_f64(), name(fault));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Fault::Stopped => counts.stopped += 1,
            Fault::Killed => counts.killed += 1,
            Fault::Frozen => counts.frozen += 1,
        }
    }

    pub(crate) fn counts(&self) -> FaultCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Stopped => "stopped",
        Fault::Killed => "killed",
        Fault::Frozen => "frozen",
    }
}
