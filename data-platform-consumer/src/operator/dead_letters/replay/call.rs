//! # Calls
//!
//! One dead letter on its way: delivered, and then its resolution written and acknowledged. Only both together are done. Every
//! call reports once, whatever becomes of it: a sink that panics has failed.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use shared_messages::dead_letter::ResolutionOutcome;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::super::letter::LetterId;
use super::super::resolutions::Resolutions;
use crate::delivery::{Event, RetryPolicy};
use crate::sink::{DeliveryFailure, FailureKind, Sink};

/// What became of a call.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) id: LetterId,
    pub(super) ending: Ending,
}

#[derive(Debug)]
pub(super) enum Ending {
    /// The platform has it, and Kafka has its resolution.
    Replayed,
    /// It stays open, for this reason.
    Failed(String),
    /// The platform takes nothing from us, or wants to be left alone for longer than a replay waits, so no other one is tried.
    Halted(String),
    /// Its partition was handed back, or the replay ends, before the next attempt.
    Interrupted,
}

/// How a dead letter is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempts {
    pub(super) at_most: u32,
    pub(super) retry: RetryPolicy,
}

/// Starts calls, and hears of them.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) runtime: Handle,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) resolutions: Arc<Resolutions>,
    pub(super) attempts: Attempts,
    pub(super) reports: Sender<Report>,
}

impl Calls {
    /// Once `closed` says so, it is not tried again.
    pub(super) fn start(&self, id: LetterId, event: Event, closed: watch::Receiver<bool>) {
        let calls = self.clone();
        self.runtime.spawn(async move {
            let reports = calls.reports.clone();
            let call = tokio::spawn(async move { calls.run(id, &event, closed).await });
            let ending = call.await.unwrap_or_else(|_| Ending::Failed("the sink broke down".to_owned()));
            // Nobody listens any more once the replay has ended.
            reports.send(Report { id, ending }).ok();
        });
    }

    async fn run(&self, id: LetterId, event: &Event, mut closed: watch::Receiver<bool>) -> Ending {
        let mut failures = 0;
        loop {
            let Err(failure) = self.sink.deliver(event).await else { return self.resolve(id, event).await };
            failures += 1;
            let Some(wait) = self.wait(&failure, failures, id) else {
                return match failure.kind() {
                    FailureKind::Misconfigured => Ending::Halted(failure.to_string()),
                    FailureKind::Throttled { retry_after: Some(patience) }
                        if patience > self.longest_wait() =>
                    {
                        Ending::Halted(format!("{failure}; run it again in {patience:?}"))
                    }
                    FailureKind::Unavailable
                    | FailureKind::Throttled { .. }
                    | FailureKind::Rejected
                    | FailureKind::Unfit => Ending::Failed(failure.to_string()),
                };
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = closed.wait_for(|closed| *closed) => return Ending::Interrupted,
            }
        }
    }

    /// How long to wait before the next attempt, if there is one.
    fn wait(&self, failure: &DeliveryFailure, failures: u32, id: LetterId) -> Option<Duration> {
        let Attempts { at_most, retry } = self.attempts;
        let wait = retry.wait(failures, id.partition, id.offset);
        match failure.kind() {
            FailureKind::Rejected | FailureKind::Unfit | FailureKind::Misconfigured => None,
            FailureKind::Unavailable | FailureKind::Throttled { .. } if failures >= at_most => None,
            FailureKind::Unavailable => Some(wait),
            FailureKind::Throttled { retry_after } => {
                let patience = retry_after.unwrap_or_default().max(wait);
                (patience <= self.longest_wait()).then_some(patience)
            }
        }
    }

    /// Somebody sits before a replay.
    fn longest_wait(&self) -> Duration {
        self.attempts.retry.longest_wait
    }

    async fn resolve(&self, id: LetterId, event: &Event) -> Ending {
        let sent = self.resolutions.write(id, event.record.key(), ResolutionOutcome::Replayed);
        let written = match sent {
            Ok(pending) => pending.acknowledged().await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => Ending::Replayed,
            Err(error) => Ending::Failed(format!(
                "it was delivered, but the resolution was not acknowledged by Kafka: {error}; the next replay delivers it again, with the same event id"
            )),
        }
    }
}
