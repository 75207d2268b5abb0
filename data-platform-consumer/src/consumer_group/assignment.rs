//! One assignment: the period in which this member owns a partition, and all that it knows of it.

mod standing;

pub(super) use standing::Away;
pub(crate) use standing::Seen;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::AssignmentEpoch;
use super::key_queues::{KeyQueues, Lane};
use super::offset_tracker::{NextOffset, OffsetTracker};
use super::positions::StartPosition;
use crate::delivery::blame::Attempts;
use crate::delivery::ceiling::{Ceiling, Permission};
use crate::delivery::fault::Verdict;

/// Whether records are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intake {
    /// Unless the client was told to pause, they come.
    Open,
    /// A position that is gone. Nothing beyond is taken in.
    Stopped,
    /// The partition is being handed back: only what others have overtaken starts.
    Closed,
}

/// How much of a partition may be read and not finished.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Offsets from the committable position on.
    pub(crate) records: u64,
    /// Of all of them together.
    pub(crate) bytes: u64,
}

/// A record that was read and has not finished.
#[derive(Debug)]
pub(super) struct Work<R> {
    pub(super) record: R,
    bytes: usize,
    lane: Lane,
    /// Most records need none of it.
    failed: Option<Box<Attempts>>,
}

impl<R> Work<R> {
    /// What became of its calls that have failed.
    pub(super) fn attempts(&self) -> Attempts {
        self.failed.as_deref().copied().unwrap_or_default()
    }

    /// The same, to note another.
    pub(super) fn attempts_mut(&mut self) -> &mut Attempts {
        self.failed.get_or_insert_default()
    }
}

/// A record at fault, on its way to the dead letters.
#[derive(Debug)]
struct AtFault {
    verdict: Verdict,
    /// Whether the ceiling has let it through.
    permitted: bool,
    state: Parking,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parking {
    From(Instant),
    OnTheWire,
}

/// What a position is committed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) partition: i32,
    pub(crate) position: NextOffset,
    /// Goes with the position, so that the next owner knows: see [`Ceiling`].
    pub(crate) ceiling_reached_at: Option<i64>,
}

/// What to do about the partition's records at fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextParking {
    Ask,
    Park { offset: i64, verdict: Verdict },
    CeilingReached,
    Nothing { until: Option<Instant> },
}

#[derive(Debug)]
pub(super) struct Assignment<R> {
    pub(super) epoch: AssignmentEpoch,
    pub(super) start: StartPosition,
    pub(super) tracker: OffsetTracker<Work<R>>,
    pub(super) queues: KeyQueues,
    /// Of all records that were read and have not finished.
    bytes: u64,
    /// How many calls and dead letters are on the wire.
    pub(super) on_the_wire: usize,
    /// The highest offset of which a call was started.
    highest_begun: Option<i64>,
    pub(super) intake: Intake,
    pub(super) next_read: Option<i64>,
    /// Where the client fetches next, when all that it had fetched was handed over. Beyond what was read lie only offsets that
    /// are no records, such as the markers of transactions.
    fetched_to: Option<i64>,
    /// It was paused, and nothing has come since.
    fetches_again: bool,
    pub(super) ceiling: Ceiling,
    /// How much happened since it was looked at.
    movements: u64,
    /// When the position moved last.
    advanced_at: Option<Instant>,
    /// The oldest unfinished record, and since when it is that.
    oldest: Option<(i64, Instant)>,
    at_fault: BTreeMap<i64, AtFault>,
    /// The window was full when it was so large, and is not empty enough yet.
    full_at: Option<u64>,
    /// What the client was told last.
    paused: bool,
    commit_sent: Option<Commit>,
    /// Whether the last position that was committed went with the ceiling's mark.
    is_marked: bool,
}

impl<R> Assignment<R> {
    pub(super) fn new(epoch: AssignmentEpoch, start: StartPosition, ceiling: Ceiling) -> Self {
        let is_marked = ceiling.reached_at().is_some();
        Self {
            epoch,
            start,
            tracker: OffsetTracker::default(),
            queues: KeyQueues::default(),
            bytes: 0,
            on_the_wire: 0,
            highest_begun: None,
            intake: Intake::Open,
            next_read: None,
            fetched_to: None,
            fetches_again: false,
            ceiling,
            movements: 0,
            advanced_at: None,
            oldest: None,
            at_fault: BTreeMap::new(),
            full_at: None,
            paused: false,
            commit_sent: None,
            is_marked,
        }
    }

    /// What waits is dropped, but for what is needed to commit all that was begun: records that wait behind their key while
    /// later ones of other keys have finished, which the next owner would repeat else. A record that has failed is not waited
    /// for, nor one at fault whose dead letter is not on its way, and nothing behind it could be committed.
    pub(super) fn close(&mut self, platform_is_away: bool) {
        self.intake = Intake::Closed;
        let begun = self.highest_begun.filter(|_| !platform_is_away).unwrap_or(i64::MIN);
        let failed = self.tracker.lowest_that(|work| work.failed.is_some()).unwrap_or(i64::MAX);
        let unparked = self.at_fault.iter().find(|(_, at_fault)| at_fault.state != Parking::OnTheWire);
        let unparked = unparked.map_or(i64::MAX, |(offset, _)| *offset);
        self.queues.keep_below(begun.min(failed).min(unparked));
        self.at_fault.retain(|_, at_fault| at_fault.state == Parking::OnTheWire);
    }

    /// Queues a record that was read. False if it was read before.
    pub(super) fn take_in(&mut self, offset: i64, key: Option<&[u8]>, record: R, bytes: usize) -> bool {
        if !self.tracker.is_new(offset) {
            return false;
        }
        let lane = self.queues.push(key, offset);
        self.tracker.started(offset, Work { record, bytes, lane, failed: None });
        self.bytes += bytes as u64;
        self.fetches_again &= self.paused;
        self.next_read = Some(offset + 1);
        self.moved();
        true
    }

    /// A call was started for the next record in the queues.
    pub(super) fn start_next(&mut self) -> Option<i64> {
        let offset = self.queues.start_next()?;
        self.on_the_wire += 1;
        self.highest_begun = self.highest_begun.max(Some(offset));
        Some(offset)
    }

    /// The record needs nothing more.
    pub(super) fn finished(&mut self, offset: i64, now: Instant) -> Option<Work<R>> {
        let before = self.tracker.committable();
        let work = self.tracker.finished(offset)?;
        self.queues.finished(work.lane);
        self.bytes -= work.bytes as u64;
        if self.tracker.committable() != before {
            self.advanced_at = Some(now);
        }
        Some(work)
    }

    /// Whether it has enough at hand: much of it is read, and it is through with that soon, as its position moves. A position
    /// that stands is a slow record's, behind which the window fills while others go on.
    pub(super) fn has_enough(&self, records: u64, moment: Duration, now: Instant) -> bool {
        let moves =
            || self.advanced_at.is_some_and(|advanced| now.saturating_duration_since(advanced) < moment);
        self.intake == Intake::Open && !self.paused && self.tracker.span() >= records && moves()
    }

    /// How many of its records are on their way to the platform.
    pub(super) fn calls_on_the_wire(&self) -> usize {
        let parking = self.at_fault.values().filter(|at_fault| at_fault.state == Parking::OnTheWire).count();
        self.on_the_wire.saturating_sub(parking)
    }

    /// What its unfinished records take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the client is to pause the partition (or to resume it), if that is not what it was told last.
    ///
    /// Pauses at the whole window and resumes at half of it: each pause makes the client read again what it
    /// had fetched, so they must be rare. While the platform is away something stays at hand to ask it with.
    pub(super) fn steer(&mut self, window: Window, platform_is_away: bool) -> Option<bool> {
        if self.intake != Intake::Open {
            return None;
        }
        let Window { records: window, bytes } = window;
        // The window is as full as the fuller of its two measures says.
        let filled = self.tracker.span().max(self.bytes.saturating_mul(window) / bytes.max(1));
        let limit = self.limit(window);
        self.full_at = match self.full_at {
            Some(full_at) if filled > window / 2 && (limit <= full_at || filled >= limit) => Some(full_at),
            Some(_) | None if filled >= limit => Some(limit),
            Some(_) | None => None,
        };
        let pause = self.full_at.is_some()
            || self.ceiling.reached_at().is_some()
            || (platform_is_away && self.queues.has_ready());
        let news = pause != self.paused;
        self.paused = pause;
        self.fetches_again |= pause;
        news.then_some(pause)
    }

    /// How far the partition may run ahead. Where the record that holds its position back has failed while the platform was
    /// well, it may go a little further for each such failure: only with others taken in between can it be told that the
    /// record is at fault, and a full window would let none in. Bounded, so that memory is.
    fn limit(&self, window: u64) -> u64 {
        const MOST_WINDOWS_MORE: u64 = 4;
        let oldest = self.tracker.oldest_unfinished().and_then(|offset| self.tracker.get(offset));
        let failures = oldest.map_or(0, |work| u64::from(work.attempts().failures_while_well()));
        let step = (window / 100).max(1);
        window.saturating_add(step.saturating_mul(failures).min(window.saturating_mul(MOST_WINDOWS_MORE)))
    }

    /// It becomes a dead letter, as soon as the ceiling lets it.
    pub(super) fn condemn(&mut self, offset: i64, verdict: Verdict, now: Instant) {
        let at_fault = AtFault { verdict, permitted: false, state: Parking::From(now), failures: 0 };
        self.at_fault.insert(offset, at_fault);
    }

    pub(super) fn next_parking(&mut self, now: Instant) -> NextParking {
        if self.intake == Intake::Closed {
            return NextParking::Nothing { until: None };
        }
        let mut until: Option<Instant> = None;
        let mut ceiling_lets_none_through = false;
        for (offset, at_fault) in &mut self.at_fault {
            match at_fault.state {
                Parking::OnTheWire => continue,
                Parking::From(at) if at > now => {
                    until = Some(until.map_or(at, |until| until.min(at)));
                    continue;
                }
                Parking::From(_) => {}
            }
            if !at_fault.permitted {
                if ceiling_lets_none_through {
                    continue;
                }
                let was_reached = self.ceiling.reached_at().is_some();
                match self.ceiling.ask_to_park(now) {
                    Permission::Park => at_fault.permitted = true,
                    Permission::Ask => return NextParking::Ask,
                    Permission::Wait(_) if !was_reached && self.ceiling.reached_at().is_some() => {
                        return NextParking::CeilingReached;
                    }
                    // The others would be answered the same, but for those that were let through and not written.
                    Permission::Wait(at) => {
                        ceiling_lets_none_through = true;
                        until = earlier(until, at);
                        continue;
                    }
                }
            }
            at_fault.state = Parking::OnTheWire;
            self.on_the_wire += 1;
            return NextParking::Park { offset: *offset, verdict: at_fault.verdict.clone() };
        }
        if ceiling_lets_none_through || self.ceiling.reached_at().is_none() {
            return NextParking::Nothing { until };
        }
        match self.ceiling.find_out(now) {
            Some(Permission::Ask) => NextParking::Ask,
            Some(Permission::Wait(at)) => NextParking::Nothing { until: earlier(until, at) },
            Some(Permission::Park) | None => NextParking::Nothing { until },
        }
    }

    /// The dead letter lies at this offset of its topic.
    pub(super) fn parked(&mut self, offset: i64, dead_letter_offset: i64, now: Instant) {
        self.at_fault.remove(&offset);
        self.ceiling.parked(dead_letter_offset);
        self.finished(offset, now);
    }

    /// It could not be written: when to try again, given how long to wait after so many failures.
    pub(super) fn not_parked(
        &mut self,
        offset: i64,
        now: Instant,
        wait: impl FnOnce(u32) -> Duration,
    ) -> Option<Instant> {
        if self.intake == Intake::Closed {
            self.at_fault.remove(&offset);
            self.queues.keep_below(offset);
            return None;
        }
        let at_fault = self.at_fault.get_mut(&offset)?;
        at_fault.failures = at_fault.failures.saturating_add(1);
        let again_at = now + wait(at_fault.failures);
        at_fault.state = Parking::From(again_at);
        Some(again_at)
    }

    /// What may be committed. With the ceiling's mark, or to take it away, the position is committed even if nothing has
    /// finished yet.
    pub(super) fn committable(&self, partition: i32) -> Option<Commit> {
        let ceiling_reached_at = self.ceiling.reached_at();
        let unmoved = || match self.start {
            _ if ceiling_reached_at.is_none() && !self.is_marked => None,
            StartPosition::At(next) => Some(NextOffset(next)),
            StartPosition::Beginning => self.tracker.oldest_unfinished().map(NextOffset),
        };
        let position = self.tracker.committable().or_else(unmoved)?;
        Some(Commit { partition, position, ceiling_reached_at })
    }

    /// What may be committed and was not sent yet. From now on it was.
    pub(super) fn take_commit(&mut self, partition: i32) -> Option<Commit> {
        let commit = self.committable(partition)?;
        if self.commit_sent == Some(commit) {
            return None;
        }
        self.commit_sent = Some(commit);
        self.is_marked |= commit.ceiling_reached_at.is_some();
        Some(commit)
    }

    pub(super) fn forget_commit(&mut self) {
        self.commit_sent = None;
    }

    /// Something happened: see [`Self::look`].
    pub(super) fn moved(&mut self) {
        self.movements += 1;
    }

    pub(super) fn is_paused_already(&mut self) {
        self.paused = true;
        self.fetches_again = true;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Where the client reads on: after what was read, or where the assignment started.
    pub(super) fn reads_on_from(&self) -> Option<StartPosition> {
        // A stopped partition reads nothing, so its position cannot get lost again.
        (self.intake == Intake::Open).then(|| self.next_read.map_or(self.start, StartPosition::At))
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
