//! What becomes of each position, and at what price. Pure: it asks nobody and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::{Finding, Look, Position};
use crate::operator::time;

/// Where reading shall go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// At the oldest record on the broker.
    Earliest,
    /// At the end: with the next record that comes.
    Latest,
    /// At this offset.
    Offset(i64),
    /// At the first record of this time or later, by Kafka's time of the records.
    Time(DateTime<Utc>),
}

/// It is no target.
#[derive(Debug, thiserror::Error)]
#[error(
    "it must be earliest, latest, an offset such as 1500, or a time with its zone such as 2026-11-29T08:00Z"
)]
pub struct UnknownTarget;

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().map(Self::Offset).map_err(|_| UnknownTarget)
            }
            moment => {
                let time = time(moment).map_err(|_| UnknownTarget)?.as_datetime();
                // Negative ones are names of other things to Kafka.
                if time.timestamp_millis() < 0 { Err(UnknownTarget) } else { Ok(Self::Time(time)) }
            }
        }
    }
}

impl Target {
    /// The time to ask Kafka for, in its milliseconds: a record of an earlier one is earlier than the target.
    pub(super) fn millis(self) -> Option<i64> {
        match self {
            Self::Time(time) => {
                let begun = i64::from(time.timestamp_subsec_nanos() % 1_000_000 > 0);
                Some(time.timestamp_millis() + begun)
            }
            Self::Earliest | Self::Latest | Self::Offset(_) => None,
        }
    }
}

/// Which positions are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those of these partitions.
    Partitions(BTreeSet<i32>),
    /// All of the topic.
    All,
    /// Those that are not on the broker.
    Lost,
}

/// Why a change cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// There is no such partition.
    #[error("{topic} has no partition {partition}: it has 0 to {last}")]
    NoSuchPartition {
        /// The topic's name.
        topic: String,
        /// The one asked for.
        partition: i32,
        /// The highest that there is.
        last: i32,
    },
    /// Nothing could be read there.
    #[error("offset {offset} is not on the broker: {topic}[{partition}] has {oldest} to {end}")]
    NotOnTheBroker {
        /// The one asked for.
        offset: i64,
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// Its oldest offset.
        oldest: i64,
        /// Its end.
        end: i64,
    },
}

/// One position that is meant, and what it would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// As it stands.
    pub from: Position,
    /// The offset of the record that would be read next.
    pub to: i64,
    /// There is no record of the time asked for or later, so it is the end.
    pub after_the_last_record: bool,
}

/// What a change does to the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Retention took these before the group had committed them. It did so whatever is set.
    Gone(Range<i64>),
    /// These are on the broker, and the group has not committed them. They will not be delivered; after a position was set back
    /// they may have been before.
    Skips(Range<i64>),
    /// These lie below what the group has committed, and will be read again.
    Repeats(Range<i64>),
    /// As `Skips`, but the position says nothing of these: perhaps they were delivered.
    MaySkip(Range<i64>),
    /// As `Repeats`, but the position says nothing of these: perhaps they were not delivered.
    MayRepeat(Range<i64>),
}

impl Effect {
    /// The offsets of the records.
    pub fn offsets(&self) -> &Range<i64> {
        match self {
            Self::Gone(offsets)
            | Self::Skips(offsets)
            | Self::Repeats(offsets)
            | Self::MaySkip(offsets)
            | Self::MayRepeat(offsets) => offsets,
        }
    }
}

impl Change {
    /// Whether there is anything to set.
    pub fn changes(&self) -> bool {
        self.from.committed != Some(self.to)
    }

    /// What it does; nothing, if reading goes on with the same record.
    pub fn effects(&self) -> Vec<Effect> {
        let Self { from: Position { committed, oldest, end, .. }, to, .. } = *self;
        let effects = match (committed, self.from.finding()) {
            (Some(next), Finding::Lost) => vec![Effect::Gone(next..oldest), Effect::Skips(oldest..to)],
            (Some(_), Finding::BeyondTheEnd) => vec![Effect::MaySkip(oldest..to), Effect::MayRepeat(to..end)],
            (Some(next), Finding::Readable | Finding::None) => {
                vec![Effect::Skips(next..to), Effect::Repeats(to..next)]
            }
            (None, _) => vec![Effect::Skips(oldest..to)],
        };
        effects.into_iter().filter(|effect| !effect.offsets().is_empty()).collect()
    }
}

/// What would become of the positions that are meant. `times` has, for a target that is a time, the offset of the first
/// record that is not earlier in each partition that has one.
pub fn plan(
    look: &Look,
    selection: &Selection,
    target: Target,
    times: &BTreeMap<i32, i64>,
) -> Result<Vec<Change>, PlanError> {
    if let Selection::Partitions(wanted) = selection {
        let there = |wanted: &i32| look.positions.iter().any(|position| position.partition == *wanted);
        if let Some(partition) = wanted.iter().copied().find(|wanted| !there(wanted)) {
            let last = look.positions.last().map_or(-1, |position| position.partition);
            return Err(PlanError::NoSuchPartition { topic: look.topic.clone(), partition, last });
        }
    }
    let meant = look.positions.iter().filter(|position| match selection {
        Selection::Partitions(wanted) => wanted.contains(&position.partition),
        Selection::All => true,
        Selection::Lost => position.is_lost(),
    });
    meant.map(|position| change(&look.topic, *position, target, times)).collect()
}

fn change(
    topic: &str,
    from: Position,
    target: Target,
    times: &BTreeMap<i32, i64>,
) -> Result<Change, PlanError> {
    let Position { partition, oldest, end, .. } = from;
    let (to, after_the_last_record) = match target {
        Target::Earliest => (oldest, false),
        Target::Latest => (end, false),
        Target::Offset(offset) if (oldest..=end).contains(&offset) => (offset, false),
        Target::Offset(offset) => {
            return Err(PlanError::NotOnTheBroker {
                offset,
                topic: topic.to_owned(),
                partition,
                oldest,
                end,
            });
        }
        // Records may have come and gone between the two looks.
        Target::Time(_) => times.get(&partition).map_or((end, true), |at| ((*at).clamp(oldest, end), false)),
    };
    Ok(Change { from, to, after_the_last_record })
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
