//! # Reports
//!
//! Takes note of calls that have ended, and tells of those that came to nothing.

use std::time::Instant;

use super::assignments::Reported;
use super::group::Group;
use crate::delivery::call::{EventName, NotDelivered, Report};

impl Group {
    /// Counts those that were taken together: at a busy time there are many.
    pub(super) fn reported(&mut self, reports: Vec<Report>, now: Instant) {
        let mut delivered = 0;
        for report in reports {
            let (partition, offset) = (report.partition, report.offset);
            let reported = self.assignments.reported(report, now);
            if reported == Reported::Delivered {
                delivered += 1;
                continue;
            }
            self.count_delivered(std::mem::take(&mut delivered));
            self.health.delivery.not_delivered(&reported, self.assignments.breaker_state());
            self.tell(reported, partition, offset, now);
        }
        self.count_delivered(delivered);
    }

    fn count_delivered(&self, calls: u64) {
        if calls > 0 {
            self.health.delivery.delivered(calls, self.assignments.breaker_state());
        }
    }

    fn tell(&self, reported: Reported, partition: i32, offset: i64, now: Instant) {
        match reported {
            Reported::Delivered => {}
            Reported::Failed { failures, again_at, not_delivered: NotDelivered { fault, event } } => {
                let what = event_in_words(event.as_ref());
                tracing::warn!(
                    order.id = event.as_ref().map(|event| event.order_id),
                    event.id = event.map(|event| event.idempotency_key),
                    kafka.partition = partition,
                    kafka.offset = offset,
                    delivery.failures = failures,
                    "{what} was not delivered, attempt {failures}, again in {:.1?}: {fault}",
                    again_at.saturating_duration_since(now),
                );
            }
            Reported::AtFault { cause, not_delivered: NotDelivered { fault, event } } => {
                let (what, topic) = (event_in_words(event.as_ref()), &self.topic);
                tracing::error!(
                    order.id = event.as_ref().map(|event| event.order_id),
                    event.id = event.map(|event| event.idempotency_key),
                    kafka.partition = partition,
                    kafka.offset = offset,
                    dead_letter.cause = cause.as_str(),
                    "{what}, {topic}[{partition}] offset {offset}, becomes a dead letter ({cause}): {fault}",
                );
            }
            Reported::LeftToTheNextOwner => tracing::info!(
                kafka.partition = partition,
                kafka.offset = offset,
                "a delivery failed while its partition was handed back; the next owner repeats it"
            ),
            Reported::Late => tracing::info!(
                kafka.partition = partition,
                kafka.offset = offset,
                late_reports = self.assignments.late_reports(),
                "a delivery ended after its partition was handed back; its result is dropped"
            ),
        }
    }
}

fn event_in_words(event: Option<&EventName>) -> String {
    event.map_or_else(|| "a record".to_owned(), |event| format!("order {}", event.order_id))
}
