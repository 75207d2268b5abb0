//! # Records
//!
//! What was read from Kafka, byte for byte: a dead letter must carry exactly what came in, and a sink may hand on fields
//! that this version does not know. One block of memory holds it all, as thousands of them can wait at a time.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rdkafka::Timestamp;
use rdkafka::message::{BorrowedHeaders, Headers, Message, OwnedHeaders};
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
    /// All headers as they came, where one of them has a name that is not UTF-8.
    native: Option<NativeHeaders>,
}

/// Headers as librdkafka holds them.
#[derive(Debug, Clone)]
struct NativeHeaders(OwnedHeaders);

/// More of them cannot be compared.
impl PartialEq for NativeHeaders {
    fn eq(&self, other: &Self) -> bool {
        self.0.count() == other.0.count()
    }
}

impl Eq for NativeHeaders {}

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
        let headers = headers_start;
        let record =
            Self { position, timestamp, bytes: bytes.as_slice().into(), key, value, headers, native: None };
        WORKBENCH.set(bytes);
        record
    }

    /// What librdkafka holds, copied.
    pub(crate) fn read(topic: Arc<str>, record: &impl Message<Headers = BorrowedHeaders>) -> Self {
        let position = RecordPosition { topic, partition: record.partition(), offset: record.offset() };
        let timestamp = match record.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(millis) => Some(RecordTime { millis, kind: TimestampType::CreateTime }),
            Timestamp::LogAppendTime(millis) => {
                Some(RecordTime { millis, kind: TimestampType::LogAppendTime })
            }
        };
        let (key, value) = (record.key(), record.payload());
        let Some(headers) = record.headers() else { return Self::new(position, timestamp, key, value, []) };
        Self::with_headers(headers, BorrowedHeaders::detach, |headers| {
            Self::new(position.clone(), timestamp, key, value, headers)
        })
    }

    /// The client panics at a header whose name is not UTF-8, which Kafka takes. Nobody here can want to read that one; it is
    /// kept, with all the others, for a dead letter.
    fn with_headers<'a, H: Headers>(
        headers: &'a H,
        detach: impl FnOnce(&H) -> OwnedHeaders,
        record: impl Fn(&mut dyn Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self,
    ) -> Self {
        let header = |place| headers.try_get(place).map(|header| (header.key, header.value));
        let all = || record(&mut (0..headers.count()).filter_map(header));
        catch_unwind(AssertUnwindSafe(all)).unwrap_or_else(|_| {
            let readable = |place| catch_unwind(AssertUnwindSafe(|| header(place))).ok().flatten();
            let mut record = record(&mut (0..headers.count()).filter_map(readable));
            record.native = Some(NativeHeaders(detach(headers)));
            record
        })
    }

    /// How many bytes key, value and headers are together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
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

    /// Its headers as they came, if a name among them is not UTF-8: those are not among [`Self::headers`].
    pub(crate) fn native_headers(&self) -> Option<&OwnedHeaders> {
        self.native.as_ref().map(|NativeHeaders(headers)| headers)
    }

    /// Name and value of each whose name is UTF-8, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> + Clone {
        let mut rest = self.bytes.get(self.headers..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (name, behind) = take_with_length(rest)?;
            let (value, behind) = take_with_length(behind)?;
            rest = behind;
            Some((std::str::from_utf8(name?).ok()?, value))
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

/// What `put_with_length` has put, and what stands behind it.
fn take_with_length(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, behind) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_ne_bytes(*length);
    if length == NO_VALUE {
        return Some((None, behind));
    }
    let (part, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(part), behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rdkafka::message::Header;

    use super::*;

    type Bytes = Option<Vec<u8>>;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))
    }

    /// As the client's own: panics at the second name.
    struct OneUnreadable(OwnedHeaders);

    impl Headers for OneUnreadable {
        fn count(&self) -> usize {
            self.0.count()
        }

        fn try_get(&self, place: usize) -> Option<Header<'_, &[u8]>> {
            assert_ne!(place, 1, "not UTF-8, as this test wants");
            self.0.try_get(place)
        }
    }

    #[test]
    fn a_header_whose_name_is_not_utf_8_is_passed_over_and_kept() {
        let headers = ["a", "(unreadable)", "c"]
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, key| headers.insert(Header { key, value: Some(key) }));
        let headers = OneUnreadable(headers);
        let record = Record::with_headers(
            &headers,
            |headers| headers.0.clone(),
            |headers| {
                let position = RecordPosition { topic: "t".into(), partition: 3, offset: 7 };
                Record::new(position, None, Some(b"15"), Some(b"{}"), headers)
            },
        );
        assert_eq!((record.key(), record.value()), (Some(&b"15"[..]), Some(&b"{}"[..])));
        let read: Vec<_> = record.headers().collect();
        assert_eq!(read, [("a", Some(&b"a"[..])), ("c", Some(&b"c"[..]))]);
        assert_eq!(record.native_headers().map(Headers::count), Some(3));
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
