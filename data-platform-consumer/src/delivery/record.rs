//! # Records
//!
//! What was read from Kafka, byte for byte: a dead letter must carry exactly what came in, and a sink may hand on fields
//! that this version does not know. One block of memory holds it all, as thousands of them can wait at a time.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rdkafka::Timestamp;
use rdkafka::message::{Headers, Message};
use shared_messages::dead_letter::TimestampType;

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPosition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

impl fmt::Display for RecordPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] at offset {}", self.topic, self.partition, self.offset)
    }
}

/// A record's time, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordTime {
    /// Milliseconds since 1970.
    pub millis: i64,
    /// Whether the producer said it, or the broker.
    pub kind: TimestampType,
}

/// One record of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    position: RecordPosition,
    timestamp: Option<RecordTime>,
    /// Key, value, and headers, one behind the other; of each header its name and its value, with their lengths.
    bytes: Box<[u8]>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: usize,
}

/// As the length of a header's value that it does not have.
const NO_VALUE: u32 = u32::MAX;

thread_local! {
    /// Where records are put together, so that each is one allocation of its own length.
    static WORKBENCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Record {
    /// A record of these parts.
    pub fn new<'a>(
        position: RecordPosition,
        timestamp: Option<RecordTime>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Self {
        let mut bytes = WORKBENCH.take();
        bytes.clear();
        let mut put = |part: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            start..bytes.len()
        };
        let (key, value) = (key.map(&mut put), value.map(&mut put));
        let headers_start = bytes.len();
        for (name, value) in headers {
            put_with_length(&mut bytes, Some(name.as_bytes()));
            put_with_length(&mut bytes, value);
        }
        let record =
            Self { position, timestamp, bytes: bytes.as_slice().into(), key, value, headers: headers_start };
        WORKBENCH.set(bytes);
        record
    }

    /// What librdkafka holds, copied.
    pub(crate) fn read(topic: Arc<str>, record: &impl Message) -> Self {
        let position = RecordPosition { topic, partition: record.partition(), offset: record.offset() };
        let headers = record.headers().into_iter().flat_map(Headers::iter);
        let headers = headers.map(|header| (header.key, header.value));
        let timestamp = match record.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(millis) => Some(RecordTime { millis, kind: TimestampType::CreateTime }),
            Timestamp::LogAppendTime(millis) => {
                Some(RecordTime { millis, kind: TimestampType::LogAppendTime })
            }
        };
        Self::new(position, timestamp, record.key(), record.payload(), headers)
    }

    /// Where it lies.
    pub fn position(&self) -> &RecordPosition {
        &self.position
    }

    /// When it was created or appended.
    pub fn timestamp(&self) -> Option<RecordTime> {
        self.timestamp
    }

    /// What decides its order and its partition.
    pub fn key(&self) -> Option<&[u8]> {
        self.part(self.key.as_ref()?)
    }

    /// Its body.
    pub fn value(&self) -> Option<&[u8]> {
        self.part(self.value.as_ref()?)
    }

    /// Name and value of each, in their order. Names are UTF-8, as the client demands it.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> + Clone {
        let mut rest = self.bytes.get(self.headers..).unwrap_or_default();
        std::iter::from_fn(move || {
            let name = take_with_length(&mut rest)??;
            let value = take_with_length(&mut rest)?;
            Some((std::str::from_utf8(name).ok()?, value))
        })
    }

    fn part(&self, range: &Range<usize>) -> Option<&[u8]> {
        self.bytes.get(range.clone())
    }
}

/// No header is as long as four gigabytes: a record is not.
fn put_with_length(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    let length = part.map_or(NO_VALUE, |part| u32::try_from(part.len()).unwrap_or(NO_VALUE));
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(part.unwrap_or_default());
}

/// Nothing at the end; else a part, which may be none.
fn take_with_length<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    let length = u32::from_ne_bytes(*length);
    if length == NO_VALUE {
        return Some(None);
    }
    let (part, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = behind;
    Some(Some(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Bytes = Option<Vec<u8>>;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))
    }

    proptest! {
        #[test]
        fn it_gives_back_what_it_was_made_of(
            key in bytes(),
            value in bytes(),
            headers in proptest::collection::vec((".{0,8}", bytes()), 0..5),
        ) {
            let position = RecordPosition { topic: "t".into(), partition: 3, offset: 7 };
            let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            let time = Some(RecordTime { millis: 9, kind: TimestampType::CreateTime });
            let record = Record::new(position.clone(), time, key.as_deref(), value.as_deref(), pairs.clone());
            prop_assert_eq!((record.position(), record.timestamp()), (&position, time));
            prop_assert_eq!((record.key(), record.value()), (key.as_deref(), value.as_deref()));
            prop_assert_eq!(record.headers().collect::<Vec<_>>(), pairs.collect::<Vec<_>>());
        }
    }
}
