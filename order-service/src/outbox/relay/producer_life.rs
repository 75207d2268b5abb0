//! # The producer's life
//!
//! A producer that failed for good takes nothing any more, and one that has forgotten its brokers sends nothing. It is replaced, and what it had on its way is sent again: a repeat at
//! most, as nobody knows what of it has arrived. If the next one fails, too, as the cause is still there, it is replaced after
//! a wait that grows.

use super::{PUBLISHING_FAILS, Relay};
use crate::kafka::event_publisher::EventPublisher;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;
use tracing::warn;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// 100 ms doubled seven times is beyond the longest wait.
const MOST_DOUBLINGS: u32 = 7;

/// How often in a row a producer was replaced without an acknowledgement in between.
#[derive(Debug, Default)]
pub(super) struct Replacements {
    in_a_row: u32,
    not_before: Option<Instant>,
}

impl Replacements {
    /// An event was acknowledged.
    pub(super) fn succeeded(&mut self) {
        self.in_a_row = 0;
    }

    fn may_be(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    fn replaced(&mut self, now: Instant) {
        let wait = (FIRST_WAIT * 2_u32.pow(self.in_a_row.min(MOST_DOUBLINGS))).min(LONGEST_WAIT);
        self.not_before = Some(now + wait);
        self.in_a_row = self.in_a_row.saturating_add(1);
    }
}

impl Relay {
    pub(super) async fn replace_publisher_if_it_failed(&mut self) {
        let Some(cause) = self.publisher.is_of_no_use() else { return };
        if !self.replacements.may_be(Instant::now()) {
            return;
        }
        self.replacements.replaced(Instant::now());
        self.metrics.producers_replaced.inc();
        warn!("the producer is of no use any more and is replaced; its events are sent again: {cause}");
        let (sender, deliveries) = unbounded_channel();
        match EventPublisher::new(&self.kafka, sender, self.metrics.producer.clone()) {
            Ok(publisher) => {
                let failed = std::mem::replace(&mut self.publisher, Arc::new(publisher));
                // Dropping it purges its queue, which takes a moment.
                drop(tokio::task::spawn_blocking(move || drop(failed)).await);
                self.take_deliveries();
                self.deliveries = deliveries;
                let lowest = self.in_flight.retain(self.acknowledged.iter().chain(&self.locked));
                drop(self.parked.take_all());
                self.progress.clear();
                self.read_again_at = None;
                // The next acknowledgement ends the alarm, so there must be something to acknowledge.
                if let Some(lowest) = lowest {
                    let told = format!("the producer is of no use any more and was replaced: {cause}");
                    self.alarms.raise(PUBLISHING_FAILS, "", told);
                    self.floor.is_below(lowest);
                }
            }
            Err(error) => self.alarms.raise(PUBLISHING_FAILS, "", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_stays_is_tried_less_and_less_often() {
        let (mut replacements, now) = (Replacements::default(), Instant::now());
        assert!(replacements.may_be(now));
        for wait in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            replacements.replaced(now);
            assert!(!replacements.may_be(now + Duration::from_millis(wait - 1)), "{wait}");
            assert!(replacements.may_be(now + Duration::from_millis(wait)), "{wait}");
        }
        replacements.succeeded();
        replacements.replaced(now);
        assert!(replacements.may_be(now + Duration::from_millis(100)));
    }
}
