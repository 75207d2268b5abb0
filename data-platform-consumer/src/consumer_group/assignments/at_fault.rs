//! What is done about records at fault, and what came of it.

use std::time::Instant;

use super::{AssignmentEpoch, Assignments, Parked, Parking, ParkingStep};
use crate::consumer_group::assignment::NextParking;
use crate::delivery::ceiling::RecentDeadLetters;
use crate::delivery::dead_letters::ParkingReport;

impl<R: Clone> Assignments<R> {
    /// What to do next about records at fault.
    pub(crate) fn next_parking_step(&mut self, now: Instant) -> Option<ParkingStep<R>> {
        if self.parking_from.is_none_or(|at| at > now) {
            return None;
        }
        let mut next: Option<Instant> = None;
        for (partition, assignment) in &mut self.owned {
            let (partition, epoch) = (*partition, assignment.epoch);
            match assignment.next_parking(now) {
                NextParking::Nothing { until } => {
                    next = [next, until].into_iter().flatten().min();
                }
                NextParking::CeilingReached => return Some(ParkingStep::CeilingReached { partition }),
                NextParking::Ask => {
                    let ceiling_reached_at = assignment.ceiling.reached_at();
                    return Some(ParkingStep::Ask { assignment: epoch, partition, ceiling_reached_at });
                }
                NextParking::Park { offset, verdict } => {
                    if let Some(work) = assignment.tracker.get(offset) {
                        let record = work.record.clone();
                        let parking = Parking { assignment: epoch, partition, offset, record, verdict };
                        return Some(ParkingStep::Park(parking));
                    }
                }
            }
        }
        self.parking_from = next;
        None
    }

    /// Takes note of what became of a dead letter on the wire.
    pub(crate) fn parked(&mut self, report: ParkingReport, now: Instant) -> Parked {
        let ParkingReport { assignment: epoch, partition, offset, outcome } = report;
        let assignment = self.owned.get_mut(&partition).filter(|assignment| assignment.epoch == epoch);
        let Some(assignment) = assignment else { return Parked::LeftToTheNextOwner };
        assignment.on_the_wire = assignment.on_the_wire.saturating_sub(1);
        assignment.moved();
        self.parking_from = Some(now);
        match outcome {
            Ok(dead_letter_offset) => {
                assignment.parked(offset, dead_letter_offset, now);
                Parked::Done
            }
            Err(cause) => {
                let retry = self.rules.retry;
                let again_at =
                    assignment.not_parked(offset, now, |failures| retry.wait(failures, partition, offset));
                again_at.map_or(Parked::LeftToTheNextOwner, |again_at| Parked::Failed { again_at, cause })
            }
        }
    }

    /// Takes note of what the end of the dead letters has shown, if it could be read. Nothing if the partition is not ours
    /// any more; else whether an operator has let parking go on.
    pub(crate) fn ceiling_seen(
        &mut self,
        epoch: AssignmentEpoch,
        partition: i32,
        seen: Option<&RecentDeadLetters>,
        now: Instant,
    ) -> Option<bool> {
        let assignment = self.owned.get_mut(&partition).filter(|assignment| assignment.epoch == epoch);
        let assignment = assignment?;
        self.parking_from = Some(now);
        assignment.moved();
        let was_reached = assignment.ceiling.reached_at().is_some();
        match seen {
            Some(seen) => assignment.ceiling.seen(seen, now),
            None => assignment.ceiling.unanswered(now),
        }
        Some(was_reached && assignment.ceiling.reached_at().is_none())
    }
}
