//! What befell the consumers, told as it happens and counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};

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

/// What befell whom, and when.
#[derive(Clone, Debug)]
pub(crate) struct Befallen {
    pub(crate) fault: Fault,
    pub(crate) member: String,
    pub(crate) from: DateTime<Utc>,
    /// When it had ended, or was thawed.
    pub(crate) until: DateTime<Utc>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Faults {
    began: Instant,
    all: Arc<Mutex<Vec<Befallen>>>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { began: Instant::now(), all: Arc::default() }
    }
}

impl Faults {
    /// It begins now; [`Self::is_over`] says when it ends.
    pub(crate) fn befalls(&self, fault: Fault, member: &str, more: &str) {
        println!("  {:7.2} s  {member} is {}{more}", self.began.elapsed().as_secs_f64(), name(fault));
        let (from, until) = (Utc::now(), DateTime::<Utc>::MAX_UTC);
        let befallen = Befallen { fault, member: member.to_owned(), from, until };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(befallen);
    }

    /// What befell this member last has ended.
    pub(crate) fn is_over(&self, member: &str) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = all.iter_mut().rev().find(|befallen| befallen.member == member) {
            last.until = Utc::now();
        }
    }

    pub(crate) fn all(&self) -> Vec<Befallen> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Stopped => "stopped",
        Fault::Killed => "killed",
        Fault::Frozen => "frozen",
    }
}
