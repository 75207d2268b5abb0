//! # Resolutions
//!
//! What became of a dead letter: it was replayed, or an operator discarded it. A dead-letter topic is append-only and
//! is not compacted, so nothing is taken away: the resolution is a record *behind* the dead letter, in its partition,
//! with its key, without a value, and names it by its offset there. Who reads the partition from its beginning knows
//! what is still open. Resolving twice changes nothing.

use std::fmt;

use super::{DeadLetterError, Headers, required};
use crate::OccurredAt;

/// What became of the dead letter, see [`ResolutionOutcome`].
pub const RESOLUTION_OUTCOME: &str = "dead_letter_resolution";
/// The dead letter's offset in this partition of the dead-letter topic.
pub const RESOLVED_OFFSET: &str = "dead_letter_resolved_offset";
/// When it was resolved.
pub const RESOLVED_AT: &str = "dead_letter_resolved_at";

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResolutionOutcome {
    /// It was delivered after all.
    Replayed,
    /// An operator decided that it is never delivered.
    Discarded,
}

impl ResolutionOutcome {
    /// As it stands in [`RESOLUTION_OUTCOME`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        [Self::Replayed, Self::Discarded].into_iter().find(|known| known.as_str() == text)
    }
}

impl fmt::Display for ResolutionOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Says of one dead letter of the same partition what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// What became of it.
    pub outcome: ResolutionOutcome,
    /// The dead letter's own offset, not that of the record that it once was.
    pub resolved_offset: i64,
    /// When.
    pub resolved_at: OccurredAt,
}

/// Whether a record of a dead-letter topic is a resolution. Everything else in there is a dead letter.
///
/// One with a value is none: a value is data that somebody parked.
pub fn is_resolution<'a>(
    value: Option<&[u8]>,
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> bool {
    value.is_none() && headers.into_iter().any(|(name, _)| name == RESOLUTION_OUTCOME)
}

impl Resolution {
    /// All headers of the record, in the order in which they are written.
    pub fn to_pairs(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            (RESOLUTION_OUTCOME, self.outcome.as_str().into()),
            (RESOLVED_OFFSET, self.resolved_offset.to_string().into_bytes()),
            (RESOLVED_AT, self.resolved_at.to_string().into_bytes()),
        ]
    }

    /// Reads the headers of a record that [`is_resolution`].
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<Self, DeadLetterError> {
        let headers = Headers::collect(pairs);
        let outcome = headers.required_text(RESOLUTION_OUTCOME)?;
        let outcome = ResolutionOutcome::from_text(outcome).ok_or_else(|| DeadLetterError::Invalid {
            name: RESOLUTION_OUTCOME,
            cause: format!("unknown outcome `{}`", outcome.chars().take(100).collect::<String>()),
        })?;
        let resolved_offset = headers.parsed(RESOLVED_OFFSET, str::parse)?;
        let resolved_at = headers.parsed(RESOLVED_AT, OccurredAt::parse)?;
        Ok(Self {
            outcome,
            resolved_offset: required(RESOLVED_OFFSET, resolved_offset)?,
            resolved_at: required(RESOLVED_AT, resolved_at)?,
        })
    }
}
