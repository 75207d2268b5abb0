//! # Letters
//!
//! The dead letters of a topic as they stand, folded from its records: a record is a dead letter, the resolution of an
//! earlier one of its partition, or an operator's word that parking goes on, which is none of their affair. Pure: records go in, in the order of each partition.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use shared_messages::OccurredAt;
use shared_messages::dead_letter::{
    DeadLetter, DeadLetterError, OriginalRecord, ReceivedDeadLetter, Resolution, TimestampType,
    is_dead_letter_header, is_resolution, parking_resumed_of,
};

use crate::delivery::{Event, Record, RecordPosition, RecordTime, Undecodable};

/// Where a dead letter lies in its topic, and its name for a person: `2:17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    /// The partition of the dead-letter topic.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.partition, self.offset))
    }
}

/// It is no name of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a dead letter is named PARTITION:OFFSET, such as 2:17; `dead-letters list` shows the names")]
pub struct InvalidLetterId;

impl FromStr for LetterId {
    type Err = InvalidLetterId;

    fn from_str(text: &str) -> Result<Self, InvalidLetterId> {
        let (partition, offset) = text.split_once(':').ok_or(InvalidLetterId)?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(partition) || !digits(offset) {
            return Err(InvalidLetterId);
        }
        let partition = partition.parse().map_err(|_| InvalidLetterId)?;
        let offset = offset.parse().map_err(|_| InvalidLetterId)?;
        Ok(Self { partition, offset })
    }
}

/// One dead letter.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) id: LetterId,
    /// As it lies in the dead-letter topic.
    pub(crate) record: Record,
    pub(crate) headers: Result<ReceivedDeadLetter, DeadLetterError>,
    /// The event in it, as this version reads it today.
    pub(crate) event: Result<Event, Undecodable>,
    pub(crate) resolution: Option<Resolution>,
}

impl Letter {
    fn new(record: Record) -> Self {
        let RecordPosition { partition, offset, .. } = *record.position();
        let headers = DeadLetter::from_pairs(record.headers());
        let parked = headers.as_ref().ok().map(|headers| &headers.original);
        let event = Event::decode(Arc::new(as_it_came_in(&record, parked)));
        Self { id: LetterId { partition, offset }, record, headers, event, resolution: None }
    }

    /// When it was parked; of one that does not tell, when it was written.
    pub(crate) fn parked_at(&self) -> Option<OccurredAt> {
        let told = self.headers.as_ref().ok().and_then(|headers| headers.parked_at);
        told.or_else(|| OccurredAt::from_millis(self.record.timestamp()?.millis))
    }

    pub(crate) fn consumer_group(&self) -> Option<&str> {
        self.headers.as_ref().ok()?.consumer_group.as_deref()
    }

    /// The cause in words: why it was parked, or why nobody knows.
    pub(crate) fn words(&self) -> String {
        match &self.headers {
            Ok(headers) => headers.message.clone().or_else(|| headers.exception.clone()).unwrap_or_default(),
            Err(error) => format!("not written as a dead letter: {error}"),
        }
    }
}

/// The record as it was before it was parked: where it lay, and with none of the headers that parking added. An event without
/// an id is known by where it lay, so the platform must be told of the same place as the first time.
fn as_it_came_in(record: &Record, original: Option<&OriginalRecord>) -> Record {
    let (position, timestamp) = match original {
        Some(OriginalRecord { topic, partition, offset, timestamp, timestamp_type }) => {
            let topic = topic.as_str().into();
            // Whose time it is, is not always told; by default it is the producer's.
            let kind = timestamp_type.unwrap_or(TimestampType::CreateTime);
            let time = timestamp.map(|millis| RecordTime { millis, kind });
            (RecordPosition { topic, partition: *partition, offset: *offset }, time)
        }
        None => (record.position().clone(), record.timestamp()),
    };
    let own = record.headers().filter(|(name, _)| !is_dead_letter_header(name));
    Record::new(position, timestamp, record.key(), record.value(), own)
}

/// Dead letters by name, with what became of them.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    letters: BTreeMap<LetterId, Letter>,
    unreadable_resolutions: Vec<String>,
}

impl Letters {
    /// Takes in the next record of a partition. A resolution answers which dead letter it resolved, if it was open.
    pub(crate) fn take(&mut self, record: Record) -> Option<(LetterId, Resolution)> {
        if parking_resumed_of(record.value(), record.headers()).is_some() {
            return None;
        }
        if !is_resolution(record.value(), record.headers()) {
            let letter = Letter::new(record);
            self.letters.insert(letter.id, letter);
            return None;
        }
        let RecordPosition { partition, offset, .. } = *record.position();
        let resolution = match Resolution::from_pairs(record.headers()) {
            Ok(resolution) => resolution,
            Err(error) => {
                self.unreadable_resolutions.push(format!("{partition}:{offset}: {error}"));
                return None;
            }
        };
        let id = LetterId { partition, offset: resolution.resolved_offset };
        // Retention may have taken the dead letter before its resolution. Of two resolutions the first one counts.
        let letter = self.letters.get_mut(&id).filter(|letter| letter.resolution.is_none())?;
        letter.resolution = Some(resolution);
        Some((id, resolution))
    }

    /// Which records are resolutions that resolve nothing, and why.
    pub(crate) fn unreadable_resolutions(&self) -> &[String] {
        &self.unreadable_resolutions
    }

    pub(crate) fn find(&self, id: LetterId) -> Option<&Letter> {
        self.letters.get(&id)
    }

    /// In the order of their names: each partition in its own order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Letter> {
        self.letters.values()
    }

    /// Nothing is known of this partition any more.
    pub(crate) fn forget(&mut self, partition: i32) {
        self.letters.retain(|id, _| id.partition != partition);
    }
}

#[cfg(test)]
#[path = "letter_tests.rs"]
mod tests;
