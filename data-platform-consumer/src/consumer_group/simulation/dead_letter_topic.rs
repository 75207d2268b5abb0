//! The dead-letter topic, and the operator's word in it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::topic::Position;
use crate::delivery::ceiling::RecentDeadLetters;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Takes,
    /// Nothing is written or read.
    Away,
    AnswersLate,
    /// Written, but nobody hears of it.
    LosesAnswers,
}

#[derive(Debug)]
enum Entry {
    DeadLetter { of: i64, at: Instant },
    ParkingResumed,
}

#[derive(Debug)]
pub(super) struct DeadLetterTopic {
    mode: Mode,
    entries: BTreeMap<i32, Vec<Entry>>,
}

impl DeadLetterTopic {
    pub(super) fn new() -> Self {
        Self { mode: Mode::Takes, entries: BTreeMap::new() }
    }

    pub(super) fn change(&mut self, chance: &mut Chance) {
        self.mode =
            chance.one_of(&[Mode::Takes, Mode::Takes, Mode::Away, Mode::AnswersLate, Mode::LosesAnswers]);
    }

    pub(super) fn repair(&mut self) {
        self.mode = Mode::Takes;
    }

    /// How long a request takes to arrive, or its answer to come back.
    pub(super) fn time_of_travel(&self, chance: &mut Chance) -> Duration {
        match self.mode {
            Mode::Takes | Mode::LosesAnswers => chance.millis(1..40),
            Mode::Away | Mode::AnswersLate => chance.millis(100..6_000),
        }
    }

    /// Writes a dead letter. The answer is what the one who parked it hears.
    pub(super) fn write(
        &mut self,
        Position { partition, offset }: Position,
        now: Instant,
    ) -> Result<i64, String> {
        if self.mode == Mode::Away {
            return Err("no broker has taken it in time".to_owned());
        }
        let written = self.append(partition, Entry::DeadLetter { of: offset, at: now });
        if self.mode == Mode::LosesAnswers { Err("no answer".to_owned()) } else { Ok(written) }
    }

    pub(super) fn resume_parking(&mut self, partition: i32) {
        self.append(partition, Entry::ParkingResumed);
    }

    fn append(&mut self, partition: i32, entry: Entry) -> i64 {
        let entries = self.entries.entry(partition).or_default();
        entries.push(entry);
        i64::try_from(entries.len()).unwrap() - 1
    }

    /// What a look at the end shows.
    pub(super) fn read(&self, partition: i32, window: Duration, now: Instant) -> Option<RecentDeadLetters> {
        if self.mode == Mode::Away {
            return None;
        }
        let mut recent = RecentDeadLetters { ages: Vec::new(), end: 0, resumed_at: None };
        for (offset, entry) in (0..).zip(self.entries.get(&partition).into_iter().flatten()) {
            recent.end = offset + 1;
            match entry {
                Entry::DeadLetter { at, .. } => {
                    let age = now.saturating_duration_since(*at);
                    recent.ages.extend((age <= window).then_some(age));
                }
                Entry::ParkingResumed => {
                    recent.ages.clear();
                    recent.resumed_at = Some(offset);
                }
            }
        }
        Some(recent)
    }

    pub(super) fn has(&self, Position { partition, offset }: Position) -> bool {
        let mut entries = self.entries.get(&partition).into_iter().flatten();
        entries.any(|entry| matches!(entry, Entry::DeadLetter { of, .. } if *of == offset))
    }
}
