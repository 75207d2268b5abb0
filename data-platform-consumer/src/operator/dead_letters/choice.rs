//! # Choice
//!
//! Which dead letters a command means: named ones, or all, and of these what the filters let pass. A group's dead letters
//! are its own; in a topic that groups share, those of others are left alone unless that is asked for.

use clap::{Args, ValueEnum};
use shared_messages::OccurredAt;
use shared_messages::dead_letter::DeadLetterCause;

use super::DeadLettersError;
use super::letter::{Letter, LetterId, Letters};
use crate::operator::{Patience, time};

/// Which of them, and how long to wait for Kafka.
#[derive(Debug, Clone, Args)]
pub(super) struct Filters {
    /// Only of these partitions of the dead-letter topic
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Only with these causes
    #[arg(long, value_enum)]
    cause: Vec<CauseFilter>,
    /// Only of these orders, as far as their records can be read
    #[arg(long, value_name = "ORDER_ID")]
    order: Vec<i64>,
    /// Only with these keys
    #[arg(long)]
    key: Vec<String>,
    /// Only what was parked then or later, such as 2026-11-29T08:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<OccurredAt>,
    /// Only what was parked before
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<OccurredAt>,
    /// Only with this text in the cause in words, in whatever case
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Those of this consumer group, instead of the settings' own
    #[arg(long, value_name = "GROUP", conflicts_with = "any_group")]
    group: Option<String>,
    /// Those of every consumer group, and what does not tell of which it is
    #[arg(long)]
    any_group: bool,
    #[command(flatten)]
    pub(super) patience: Patience,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CauseFilter {
    Undecodable,
    Rejected,
    Failing,
    /// Parked by somebody who does not say why in our words
    Unknown,
}

impl CauseFilter {
    fn of(cause: Option<DeadLetterCause>) -> Self {
        match cause {
            Some(DeadLetterCause::Undecodable) => Self::Undecodable,
            Some(DeadLetterCause::Rejected) => Self::Rejected,
            Some(DeadLetterCause::Failing) => Self::Failing,
            None => Self::Unknown,
        }
    }
}

/// Named ones, or all.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Named {
    /// Dead letters by name, such as 2:17
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<LetterId>,
    /// All that are open and pass the filters
    #[arg(long)]
    pub(super) all: bool,
}

impl Filters {
    /// Whose dead letters are meant; `None` for everybody's.
    fn group<'a>(&'a self, own: &'a str) -> Option<&'a str> {
        (!self.any_group).then(|| self.group.as_deref().unwrap_or(own))
    }

    pub(super) fn is_of_group(&self, letter: &Letter, own: &str) -> bool {
        self.group(own).is_none_or(|group| letter.consumer_group() == Some(group))
    }

    /// Everything but the group.
    pub(super) fn pass(&self, letter: &Letter) -> bool {
        let cause = letter.headers.as_ref().ok().and_then(|headers| headers.cause);
        let order = letter.event.as_ref().ok().map(|event| event.message.order_id);
        let parked_at = letter.parked_at();
        let has_key = |key: &String| letter.record.key() == Some(key.as_bytes());
        (self.partition.is_empty() || self.partition.contains(&letter.id.partition))
            && (self.cause.is_empty() || self.cause.contains(&CauseFilter::of(cause)))
            && (self.order.is_empty() || order.is_some_and(|order| self.order.contains(&order)))
            && (self.key.is_empty() || self.key.iter().any(has_key))
            && self.since.is_none_or(|since| parked_at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| parked_at.is_some_and(|at| at < until))
            && self
                .contains
                .as_ref()
                .is_none_or(|text| letter.words().to_lowercase().contains(&text.to_lowercase()))
    }
}

/// What a command that changes something means.
#[derive(Debug, Default)]
pub(super) struct Chosen<'a> {
    /// In the order of each partition.
    pub(super) open: Vec<&'a Letter>,
    /// Named, but resolved already.
    pub(super) resolved: Vec<&'a Letter>,
}

impl Named {
    /// A name that means nothing, or what is another group's, is an error: nothing is done then.
    pub(super) fn choose<'a>(
        &self,
        letters: &'a Letters,
        filters: &Filters,
        own_group: &str,
    ) -> Result<Chosen<'a>, DeadLettersError> {
        for id in &self.ids {
            let letter = letters.find(*id).ok_or(DeadLettersError::Unknown { id: *id })?;
            if !filters.is_of_group(letter, own_group) {
                let group = letter.consumer_group().unwrap_or("(not told)").to_owned();
                return Err(DeadLettersError::OfAnotherGroup { id: *id, group });
            }
        }
        let named = |letter: &&Letter| self.all || self.ids.contains(&letter.id);
        let meant = letters.iter().filter(named);
        let meant = meant.filter(|letter| filters.is_of_group(letter, own_group) && filters.pass(letter));
        let (open, resolved) = meant.partition(|letter| letter.resolution.is_none());
        let resolved = if self.all { Vec::new() } else { resolved };
        Ok(Chosen { open, resolved })
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
