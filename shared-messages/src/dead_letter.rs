//! # Dead letters
//!
//! A record that a consumer group cannot deliver is parked in the dead-letter topic ([`crate::topics::dead_letter_topic`]):
//! same partition number, same key, same value, and the headers that it came with, byte for byte. What stands in
//! here are the headers beside those, which tell where the record lay and why it was parked. Names and encodings are
//! Spring's (`kafka_dlt-…`, numbers in big-endian bytes), so that its tools read ours and we read what it parked;
//! what Spring has no name for is text, in headers `dead_letter_…`.
//!
//! A record that comes from a dead-letter topic already has such headers. Who parks it drops them first
//! ([`is_dead_letter_header`]), so that one dead letter tells of one parking.
//!
//! What became of a dead letter stands behind it in the same topic: a [`Resolution`]. So does an operator's word that parking
//! goes on ([`parking_resumed`]).

mod parking;
mod resolution;

use std::fmt;

use crate::OccurredAt;
pub use parking::{PARKING, PARKING_GROUP, PARKING_RESUMED_AT, parking_resumed, parking_resumed_of};
pub use resolution::{
    RESOLUTION_OUTCOME, RESOLVED_AT, RESOLVED_OFFSET, Resolution, ResolutionOutcome, is_resolution,
};

/// The topic in which the record lay.
pub const ORIGINAL_TOPIC: &str = "kafka_dlt-original-topic";
/// Its partition there, four bytes.
pub const ORIGINAL_PARTITION: &str = "kafka_dlt-original-partition";
/// Its offset there, eight bytes.
pub const ORIGINAL_OFFSET: &str = "kafka_dlt-original-offset";
/// Its timestamp, eight bytes.
pub const ORIGINAL_TIMESTAMP: &str = "kafka_dlt-original-timestamp";
/// What its timestamp means.
pub const ORIGINAL_TIMESTAMP_TYPE: &str = "kafka_dlt-original-timestamp-type";
/// The group that could not deliver it.
pub const ORIGINAL_CONSUMER_GROUP: &str = "kafka_dlt-original-consumer-group";
/// A class name in Spring's; a stable name of the cause in ours.
pub const EXCEPTION_FQCN: &str = "kafka_dlt-exception-fqcn";
/// The cause in words.
pub const EXCEPTION_MESSAGE: &str = "kafka_dlt-exception-message";
/// The cause, see [`DeadLetterCause`].
pub const CAUSE: &str = "dead_letter_cause";
/// How often delivery was tried.
pub const ATTEMPTS: &str = "dead_letter_attempts";
/// When it failed first.
pub const FAILING_SINCE: &str = "dead_letter_failing_since";
/// When it was parked.
pub const PARKED_AT: &str = "dead_letter_parked_at";

/// A cause in words is cut to so many bytes, as a platform may answer with a whole page.
pub const LONGEST_MESSAGE_BYTES: usize = 1024;
const CUT: &str = "…";

/// Whether a header is about a dead letter, of Spring's or of ours. They are dropped from a record that is parked anew.
pub fn is_dead_letter_header(name: &str) -> bool {
    name.starts_with("kafka_dlt-") || name.starts_with("dead_letter_")
}

/// Why a record was parked: what about it was at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadLetterCause {
    /// Its bytes or headers are no event that is known.
    Undecodable,
    /// The platform refused this record for good.
    Rejected,
    /// It went on failing while its neighbours were delivered.
    Failing,
}

impl DeadLetterCause {
    /// Every cause there is.
    pub const ALL: [Self; 3] = [Self::Undecodable, Self::Rejected, Self::Failing];

    /// As it stands in [`CAUSE`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Rejected => "rejected",
            Self::Failing => "failing",
        }
    }

    /// As it stands in [`EXCEPTION_FQCN`], where Spring has the name of a class. It never changes.
    pub fn exception_name(self) -> &'static str {
        match self {
            Self::Undecodable => "dead_letter.Undecodable",
            Self::Rejected => "dead_letter.Rejected",
            Self::Failing => "dead_letter.Failing",
        }
    }

    /// The cause of this name.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }
}

impl fmt::Display for DeadLetterCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a record's timestamp means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's time.
    CreateTime,
    /// The broker's time.
    LogAppendTime,
}

impl TimestampType {
    /// As Java prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        [Self::CreateTime, Self::LogAppendTime].into_iter().find(|known| known.as_str() == text)
    }
}

/// Where a parked record lay before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OriginalRecord {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// What the timestamp means, if that is known.
    pub timestamp_type: Option<TimestampType>,
}

impl fmt::Display for OriginalRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

/// What we write when a record is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where the record lay.
    pub original: OriginalRecord,
    /// The group that could not deliver it.
    pub consumer_group: String,
    /// Why, for a machine.
    pub cause: DeadLetterCause,
    /// Why, in words. It is cut to [`LONGEST_MESSAGE_BYTES`] when it is written.
    pub message: String,
    /// How often delivery was tried; 0 when it could not be.
    pub attempts: u32,
    /// When it failed first, if delivery was tried.
    pub failing_since: Option<OccurredAt>,
    /// When it was parked.
    pub parked_at: OccurredAt,
}

/// What stands in the headers of a dead letter. One that Spring wrote has nothing of ours, and a group only in recent
/// versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedDeadLetter {
    /// Where the record lay.
    pub original: OriginalRecord,
    /// The group that could not deliver it.
    pub consumer_group: Option<String>,
    /// Why, if we wrote it.
    pub cause: Option<DeadLetterCause>,
    /// Our name of the cause, or the class of another's exception.
    pub exception: Option<String>,
    /// Why, in words.
    pub message: Option<String>,
    /// How often delivery was tried.
    pub attempts: Option<u32>,
    /// When it failed first.
    pub failing_since: Option<OccurredAt>,
    /// When it was parked. If that is not told, the record's own timestamp says so.
    pub parked_at: Option<OccurredAt>,
}

/// Why headers are not those of a dead letter, or of a resolution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
    /// A header without which nobody knows what it is about.
    #[error("header `{name}` is missing")]
    Missing {
        /// The header's name.
        name: &'static str,
    },
    /// A header that is there but is not what its name says.
    #[error("header `{name}` is not valid: {cause}")]
    Invalid {
        /// The header's name.
        name: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

impl DeadLetter {
    /// The headers to add to those of the record, in the order in which they are written.
    pub fn to_pairs(&self) -> Vec<(&'static str, Vec<u8>)> {
        let OriginalRecord { topic, partition, offset, timestamp, timestamp_type } = &self.original;
        let mut pairs = vec![
            (ORIGINAL_TOPIC, topic.clone().into_bytes()),
            (ORIGINAL_PARTITION, partition.to_be_bytes().to_vec()),
            (ORIGINAL_OFFSET, offset.to_be_bytes().to_vec()),
        ];
        pairs.extend(timestamp.map(|millis| (ORIGINAL_TIMESTAMP, millis.to_be_bytes().to_vec())));
        pairs.extend(timestamp_type.map(|known| (ORIGINAL_TIMESTAMP_TYPE, known.as_str().into())));
        pairs.extend([
            (ORIGINAL_CONSUMER_GROUP, self.consumer_group.clone().into_bytes()),
            (EXCEPTION_FQCN, self.cause.exception_name().into()),
            (EXCEPTION_MESSAGE, brief(&self.message).into_bytes()),
            (CAUSE, self.cause.as_str().into()),
            (ATTEMPTS, self.attempts.to_string().into_bytes()),
        ]);
        pairs.extend(self.failing_since.map(|since| (FAILING_SINCE, since.to_string().into_bytes())));
        pairs.push((PARKED_AT, self.parked_at.to_string().into_bytes()));
        pairs
    }

    /// Reads a dead letter's headers, whether we wrote it or Spring did. Only where the record lay, and whose it is, must be
    /// told rightly: what else is not what it says, such as a cause of a later version, counts as not told. Of a header that
    /// is there twice the last one counts, as a dead letter of a dead letter may have both.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<ReceivedDeadLetter, DeadLetterError> {
        let headers = Headers::collect(pairs);
        let original = OriginalRecord {
            topic: headers.required_text(ORIGINAL_TOPIC)?.to_owned(),
            partition: required(ORIGINAL_PARTITION, headers.bytes(ORIGINAL_PARTITION)?)
                .map(i32::from_be_bytes)?,
            offset: required(ORIGINAL_OFFSET, headers.bytes(ORIGINAL_OFFSET)?).map(i64::from_be_bytes)?,
            timestamp: headers.bytes(ORIGINAL_TIMESTAMP)?.map(i64::from_be_bytes),
            timestamp_type: headers.text(ORIGINAL_TIMESTAMP_TYPE)?.and_then(TimestampType::from_text),
        };
        Ok(ReceivedDeadLetter {
            original,
            consumer_group: headers.text(ORIGINAL_CONSUMER_GROUP)?.map(str::to_owned),
            cause: headers.text(CAUSE).ok().flatten().and_then(DeadLetterCause::from_text),
            exception: headers.text(EXCEPTION_FQCN).ok().flatten().map(str::to_owned),
            // Java writes an exception's words as it likes; what is no text is better shown than refused.
            message: headers.raw(EXCEPTION_MESSAGE).map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
            attempts: headers.parsed(ATTEMPTS, str::parse).unwrap_or_default(),
            failing_since: headers.parsed(FAILING_SINCE, OccurredAt::parse).unwrap_or_default(),
            parked_at: headers.parsed(PARKED_AT, OccurredAt::parse).unwrap_or_default(),
        })
    }
}

/// The text, or its beginning and a sign that it was cut.
fn brief(message: &str) -> String {
    if message.len() <= LONGEST_MESSAGE_BYTES {
        return message.to_owned();
    }
    let (beginning, _) = message.split_at(message.floor_char_boundary(LONGEST_MESSAGE_BYTES - CUT.len()));
    format!("{beginning}{CUT}")
}

fn required<T>(name: &'static str, value: Option<T>) -> Result<T, DeadLetterError> {
    value.ok_or(DeadLetterError::Missing { name })
}

/// The headers that are about dead letters, as they came. There are few, so they are looked for one by one.
struct Headers<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Headers<'a> {
    fn collect(pairs: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let ours = pairs.into_iter().filter(|(name, _)| is_dead_letter_header(name));
        Self(ours.filter_map(|(name, value)| Some((name, value?))).collect())
    }

    fn raw(&self, wanted: &str) -> Option<&'a [u8]> {
        self.0.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
    }

    fn bytes<const LENGTH: usize>(
        &self,
        name: &'static str,
    ) -> Result<Option<[u8; LENGTH]>, DeadLetterError> {
        let Some(bytes) = self.raw(name) else { return Ok(None) };
        let cause = || format!("{} bytes instead of {LENGTH}", bytes.len());
        let number = bytes.try_into().map_err(|_| DeadLetterError::Invalid { name, cause: cause() })?;
        Ok(Some(number))
    }

    fn text(&self, name: &'static str) -> Result<Option<&'a str>, DeadLetterError> {
        let text = self.raw(name).map(std::str::from_utf8).transpose();
        text.map_err(|error| DeadLetterError::Invalid { name, cause: error.to_string() })
    }

    fn required_text(&self, name: &'static str) -> Result<&'a str, DeadLetterError> {
        required(name, self.text(name)?)
    }

    fn parsed<T, E: std::error::Error>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, DeadLetterError> {
        let parsed = self.text(name)?.map(parse).transpose();
        parsed.map_err(|error| DeadLetterError::Invalid { name, cause: error.to_string() })
    }
}

#[cfg(test)]
#[path = "dead_letter_tests.rs"]
mod tests;
