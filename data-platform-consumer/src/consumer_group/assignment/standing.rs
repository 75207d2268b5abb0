//! How an assignment stands, for an operator and for the watchdog.

use std::time::Instant;

use super::{Assignment, Intake, Window};
use crate::consumer_group::offset_tracker::NextOffset;
use crate::consumer_group::positions::StartPosition;
use crate::consumer_group::watchdog::{Movement, Reach, Work};
use crate::status::{IntakeStatus, PartitionStatus};

/// What the client has seen of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The offset behind its last record, once it is known.
    pub(crate) end: Option<i64>,
    pub(crate) reach: Reach,
}

/// What is away as a whole, and so explains that nothing moves.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::consumer_group) struct Away {
    pub(in crate::consumer_group) platform: bool,
    pub(in crate::consumer_group) kafka: bool,
}

impl<R> Assignment<R> {
    /// All that the client has fetched before this offset was handed over. A negative one is none: it has not begun. Nor is it
    /// believed of a client that was paused, until a record has come since: a pause throws away what was fetched.
    pub(in crate::consumer_group) fn is_fetched_to(&mut self, next: i64) {
        if self.intake == Intake::Open && !self.fetches_again && next >= 0 {
            self.fetched_to = self.fetched_to.max(Some(next));
        }
    }

    /// How it stands, given what the client has seen of it, and whether it has moved since the last look.
    pub(in crate::consumer_group) fn look(
        &mut self,
        partition: i32,
        Seen { end, reach }: Seen,
        waiting_for_retry: usize,
        window: Window,
        away: Away,
        now: Instant,
    ) -> (PartitionStatus, Movement) {
        let oldest = self.tracker.oldest_unfinished();
        self.oldest = oldest.map(|offset| match self.oldest {
            Some((before, since)) if before == offset => (before, since),
            Some(_) | None => (offset, now),
        });
        let standing = self.oldest.map(|(_, since)| now.saturating_duration_since(since).as_secs_f64());
        let committable = self.tracker.committable().map(|NextOffset(next)| next);
        let started_at = match self.start {
            StartPosition::At(next) => Some(next),
            StartPosition::Beginning => None,
        };
        let all_is_finished = self.tracker.unfinished() == 0;
        let finished_to =
            committable.or(started_at).or(oldest).max(self.fetched_to.filter(|_| all_is_finished));
        let lag = end.map(|end| (end - finished_to.unwrap_or(0)).max(0));
        let intake = match self.intake {
            Intake::Closed => IntakeStatus::Closed,
            Intake::Stopped => IntakeStatus::Stopped,
            Intake::Open if self.ceiling.reached_at().is_some() => IntakeStatus::AtCeiling,
            Intake::Open if self.paused && self.full_at.is_some() => IntakeStatus::WindowFull,
            Intake::Open if self.paused => IntakeStatus::Paused,
            Intake::Open => IntakeStatus::Open,
        };
        let status = PartitionStatus {
            partition,
            committable: committable.or(started_at),
            next_read: self.next_read,
            end,
            lag,
            unfinished: self.tracker.unfinished(),
            window_used: self.tracker.span(),
            window_limit: self.limit(window.records),
            bytes: self.bytes,
            on_the_wire: self.on_the_wire,
            waiting_for_retry,
            at_fault: self.at_fault.len(),
            oldest_unfinished: oldest,
            standing_for_seconds: standing,
            intake,
        };
        // Where fetching has never begun no end is known, and everything may be unread.
        let is_fetched = intake == IntakeStatus::Open && !away.kafka;
        let next = self.next_read.or(started_at).max(self.fetched_to);
        let is_behind = end.map_or(is_fetched, |end| end > next.unwrap_or(0));
        let work = if status.unfinished > 0 {
            Work::Unfinished
        } else if self.intake == Intake::Open && is_behind {
            Work::Unread
        } else {
            Work::Nothing
        };
        let movement = Movement {
            moved: std::mem::take(&mut self.movements) > 0,
            work,
            reach: if is_fetched { reach } else { Reach::Connected },
            waits_on_purpose: away.platform
                || away.kafka
                || intake == IntakeStatus::AtCeiling
                || intake == IntakeStatus::Closed,
        };
        (status, movement)
    }
}
