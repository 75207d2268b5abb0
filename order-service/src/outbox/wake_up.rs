//! # Wake-up
//!
//! The signal from a transaction's completion to the relay. It says only that there may be something to
//! publish; several signals are one. A signal that is given while the relay is busy is kept, so none is lost
//! between its look at the table and its going to sleep.

use std::sync::Arc;
use tokio::sync::Notify;

/// Clones share the signal.
#[derive(Clone, Debug, Default)]
pub struct WakeUp {
    notify: Arc<Notify>,
}

impl WakeUp {
    /// Wakes the relay, now or when it next waits. Never blocks, never fails.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Ends at the next signal, at once when one was given since the last wait.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}
