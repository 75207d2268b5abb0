//! # Parking
//!
//! What the member does with records at fault: it writes them to the dead letters, up to a ceiling, and asks there
//! whether an operator lets it go on. Whatever waits runs elsewhere and reports into the mailbox.

use std::sync::Arc;
use std::time::Instant;

use super::Signal;
use super::assignments::{AssignmentEpoch, Parked, ParkingStep};
use super::group::Group;
use crate::delivery::ceiling::RecentDeadLetters;
use crate::delivery::dead_letter_end::EndOfDeadLetters;
use crate::delivery::dead_letters::ParkingReport;

impl Group {
    pub(super) fn park_what_is_at_fault(&mut self, now: Instant) {
        while let Some(step) = self.assignments.next_parking_step(now) {
            match step {
                ParkingStep::Park(parking) => self.dead_letters.park(&parking, now),
                ParkingStep::Ask { assignment, partition, ceiling_reached_at } => {
                    self.ask_the_dead_letters(assignment, partition, ceiling_reached_at);
                }
                ParkingStep::CeilingReached { partition } => self.ceiling_reached(partition),
            }
        }
    }

    fn ask_the_dead_letters(&self, assignment: AssignmentEpoch, partition: i32, since: Option<i64>) {
        let window = self.assignments.ceiling_window();
        let end = EndOfDeadLetters { kafka: self.kafka.clone(), partition, window, since };
        let unread = Err("the look-up ended without a result".to_owned());
        let unread = Signal::DeadLettersSeen { assignment, partition, seen: unread };
        self.calls.run_blocking(unread, move || {
            let seen = end.read().map_err(|error| error.to_string());
            Signal::DeadLettersSeen { assignment, partition, seen }
        });
    }

    pub(super) fn dead_letters_seen(
        &mut self,
        assignment: AssignmentEpoch,
        partition: i32,
        seen: &Result<RecentDeadLetters, String>,
    ) {
        let seen_of_ours =
            self.assignments.ceiling_seen(assignment, partition, seen.as_ref().ok(), Instant::now());
        let Some(resumed) = seen_of_ours else { return };
        match seen {
            Ok(_) => {
                self.health.delivery.dead_letters_readable(partition);
                if resumed {
                    tracing::info!(kafka.partition = partition, "an operator lets parking go on");
                    self.health.delivery.ceiling_lifted(partition);
                }
            }
            Err(cause) => {
                let topic = self.kafka.dead_letter_topic();
                let cause = format!("the topic {topic} cannot be read: {cause}");
                self.health.delivery.dead_letters_unwritable(partition, &cause);
            }
        }
    }

    pub(super) fn ceiling_reached(&self, partition: i32) {
        self.health.delivery.ceiling_reached(partition);
    }

    pub(super) fn parked(&mut self, report: ParkingReport) {
        let (now, topic) = (Instant::now(), Arc::clone(&self.topic));
        let (partition, offset, outcome) = (report.partition, report.offset, report.outcome.clone());
        match self.assignments.parked(report, now) {
            Parked::Done => {
                let dead_letter_offset = outcome.unwrap_or_default();
                tracing::info!(
                    kafka.partition = partition,
                    kafka.offset = offset,
                    dead_letter.offset = dead_letter_offset,
                    "{topic}[{partition}] offset {offset} is a dead letter, {partition}:{dead_letter_offset}"
                );
                self.health.delivery.parked(partition);
            }
            Parked::Failed { again_at, cause } => {
                tracing::warn!(
                    kafka.partition = partition,
                    kafka.offset = offset,
                    "{topic}[{partition}] offset {offset} could not be parked, again in {:.1?}: {cause}",
                    again_at.saturating_duration_since(now)
                );
                self.health.delivery.dead_letters_unwritable(partition, &cause);
            }
            Parked::LeftToTheNextOwner => tracing::info!(
                kafka.partition = partition,
                kafka.offset = offset,
                "a dead letter was answered for after its partition was handed back; the next owner may repeat it"
            ),
        }
    }
}
