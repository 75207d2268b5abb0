//! # Positions
//!
//! `data-platform-consumer positions`: where the group reads on, and an operator's decision that it shall read on elsewhere.
//! The consumer never jumps by itself: a partition whose position is gone from the broker stands still with the alarm
//! `position-lost` until somebody has looked at it and set a position.
//!
//! - `group_positions` asks the brokers, and commits in the group's name;
//! - `change` decides what would become of each position, and what is skipped or repeated by it; it asks nobody;
//! - `report` puts both into words.
//!
//! It promises that nothing changes without `--yes`, that a position which is not on the broker is never set, and that
//! what it says was set was read back from the group's coordinator. Kafka takes positions from outside only while the
//! group has no members, so that a running consumer is never moved under its feet.
//!
//! Records are counted by their offsets. A topic with gaps in them, as compaction or transactions leave, has fewer.

mod change;
mod group_positions;
mod report;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

pub use change::{Change, Effect, PlanError, Selection, Target, UnknownTarget, plan};
pub use group_positions::GroupPositions;
pub use report::{changes_table, look_table};

/// Where the group reads on in one partition, and what the broker has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Its number.
    pub partition: i32,
    /// What is committed: the next record's offset.
    pub committed: Option<i64>,
    /// The offset of the oldest record on the broker.
    pub oldest: i64,
    /// The offset that the next record will have.
    pub end: i64,
}

/// What is to be said of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Finding {
    /// Reading goes on there.
    Readable,
    /// Nothing was ever committed: the partition is read from its beginning.
    None,
    /// Retention took what is to be read next.
    Lost,
    /// The broker never had, or has no more, so many records: a topic created anew, or a broker that lost its end.
    BeyondTheEnd,
}

impl Position {
    /// What is to be said of it.
    pub fn finding(&self) -> Finding {
        match self.committed {
            None => Finding::None,
            Some(next) if next < self.oldest => Finding::Lost,
            Some(next) if next > self.end => Finding::BeyondTheEnd,
            Some(_) => Finding::Readable,
        }
    }

    /// Whether the partition stands still because of it.
    pub fn is_lost(&self) -> bool {
        matches!(self.finding(), Finding::Lost | Finding::BeyondTheEnd)
    }

    /// How many records on the broker are not finished.
    pub fn lag(&self) -> i64 {
        self.end - self.committed.unwrap_or(self.oldest).clamp(self.oldest, self.end)
    }
}

/// Who reads in the group's name at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Members {
    /// These clients, each with its host; nobody if there is none.
    Known(Vec<String>),
    /// The brokers do not tell, and why.
    Unclear(String),
}

/// All positions of the group, at about one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// The group's id.
    pub group: String,
    /// The topic's name.
    pub topic: String,
    /// Its members.
    pub members: Members,
    /// One for each partition, in their order.
    pub positions: Vec<Position>,
}

impl Look {
    /// The partitions that stand still because of their position.
    pub fn lost(&self) -> BTreeSet<i32> {
        self.positions.iter().filter(|position| position.is_lost()).map(|lost| lost.partition).collect()
    }
}

/// Why positions could not be shown or set.
#[derive(Debug, thiserror::Error)]
pub enum PositionsError {
    /// No answer in time.
    #[error("{what}: no answer from Kafka at {servers} within {limit:?} (--kafka-timeout): {cause}")]
    Silent {
        /// What was asked for.
        what: String,
        /// Where it was looked for.
        servers: String,
        /// How long it was waited for.
        limit: Duration,
        /// librdkafka's reason, the most telling that it gave.
        cause: String,
    },
    /// An answer that does not help.
    #[error("{what}: Kafka answers: {cause}")]
    Answer {
        /// What was asked for.
        what: String,
        /// Kafka's words.
        cause: String,
    },
    /// There is no such topic.
    #[error("the topic {topic} does not exist: create it (`order-service topics`), or correct `kafka.topic`")]
    TopicMissing {
        /// Its name.
        topic: String,
    },
    /// The user has too few rights.
    #[error("Kafka does not allow it: grant this service's user {rights}")]
    Forbidden {
        /// Which, and on what.
        rights: String,
    },
    /// What was asked for cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The group is in use.
    #[error(
        "stop the consumers of group {group} first: Kafka takes positions from outside only while the group has no members \
         (one that was killed counts as a member until its session times out); nothing was changed"
    )]
    MembersPresent {
        /// The group's id.
        group: String,
    },
    /// It was sent, and nobody knows what became of it.
    #[error(
        "Kafka did not answer the commit within {limit:?} (--kafka-timeout): whether positions changed is not known; look with \
         `data-platform-consumer positions show`"
    )]
    Unanswered {
        /// How long it was waited for.
        limit: Duration,
    },
    /// They were taken, but others stand there.
    #[error(
        "the positions of partitions {partitions:?} are not what was set: somebody else commits in the group's name; look with \
         `data-platform-consumer positions show`"
    )]
    NotAsSet {
        /// Those that differ.
        partitions: Vec<i32>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(committed: Option<i64>) -> Position {
        Position { partition: 0, committed, oldest: 2000, end: 9000 }
    }

    #[test]
    fn a_position_is_lost_as_soon_as_its_next_record_is_not_on_the_broker() {
        for (committed, finding, lag) in [
            (None, Finding::None, 7000),
            (Some(1999), Finding::Lost, 7000),
            (Some(2000), Finding::Readable, 7000),
            (Some(8999), Finding::Readable, 1),
            (Some(9000), Finding::Readable, 0),
            (Some(9001), Finding::BeyondTheEnd, 0),
        ] {
            assert_eq!((position(committed).finding(), position(committed).lag()), (finding, lag));
        }
    }
}
