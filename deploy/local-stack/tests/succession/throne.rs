//! Who publishes, as the instances themselves say it.

use std::sync::Arc;

use local_stack::service_log::{Level, LogLine};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::DEADLINE;

const PUBLISHES: &str = "this instance publishes the outbox from now on";

/// An instance that began to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accession {
    /// How many there were before.
    pub(crate) number: usize,
    pub(crate) instance: usize,
    pub(crate) at: Instant,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Throne(Arc<watch::Sender<Option<Accession>>>);

impl Default for Throne {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Throne {
    /// Takes note of an instance's line.
    pub(crate) fn read(&self, instance: usize, line: &LogLine) {
        if line.level == Level::Error {
            println!("             order-service-{} says: {}", instance + 1, line.message);
        }
        if line.message.starts_with(PUBLISHES) {
            self.0.send_modify(|last| {
                let number = last.map_or(0, |last| last.number + 1);
                *last = Some(Accession { number, instance, at: Instant::now() });
            });
        }
    }

    /// Who began to publish last; waits for the first.
    pub(crate) async fn last(&self) -> Accession {
        self.next(None).await
    }

    /// Who began to publish after that one.
    pub(crate) async fn after(&self, before: Accession) -> Accession {
        self.next(Some(before.number)).await
    }

    async fn next(&self, before: Option<usize>) -> Accession {
        let mut changes = self.0.subscribe();
        let is_later =
            |last: &Option<Accession>| last.is_some_and(|last| before.is_none_or(|it| last.number > it));
        let next = timeout(DEADLINE, changes.wait_for(is_later)).await;
        let next = next.unwrap_or_else(|_| panic!("nobody publishes within {DEADLINE:?}")).expect("it lives");
        next.expect("somebody")
    }
}
