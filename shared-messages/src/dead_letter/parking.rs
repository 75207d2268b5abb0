//! # Parking goes on
//!
//! A consumer stops a partition when too many of its records become dead letters, until an operator decides. That
//! decision stands in the dead-letter topic as well: a record of the partition, without key and value, behind which
//! the consumer counts anew.

use crate::OccurredAt;

/// What an operator says of a partition; always `resumed`.
pub const PARKING: &str = "dead_letter_parking";
/// Of which consumer group.
pub const PARKING_GROUP: &str = "dead_letter_parking_group";
/// When it was said.
pub const PARKING_RESUMED_AT: &str = "dead_letter_parking_resumed_at";

const RESUMED: &str = "resumed";

/// All headers of the record by which an operator lets a consumer group go on.
pub fn parking_resumed(consumer_group: &str, at: OccurredAt) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (PARKING, RESUMED.into()),
        (PARKING_GROUP, consumer_group.into()),
        (PARKING_RESUMED_AT, at.to_string().into_bytes()),
    ]
}

/// Of which consumer group a record of a dead-letter topic says that parking goes on. Such a record is neither a dead letter
/// nor a resolution.
pub fn parking_resumed_of<'a>(
    value: Option<&[u8]>,
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> Option<&'a str> {
    let (mut resumed, mut group) = (false, None);
    for (name, value) in headers {
        match name {
            PARKING => resumed = value == Some(RESUMED.as_bytes()),
            PARKING_GROUP => group = value.and_then(|value| std::str::from_utf8(value).ok()),
            _ => {}
        }
    }
    group.filter(|_| resumed && value.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::{is_dead_letter_header, is_resolution};

    #[test]
    fn it_is_told_from_everything_else_in_the_topic() {
        let pairs = parking_resumed("billing", OccurredAt::parse("2026-11-29T08:30:00Z").unwrap());
        let headers = || pairs.iter().map(|(name, value)| (*name, Some(value.as_slice())));
        assert_eq!(parking_resumed_of(None, headers()), Some("billing"));
        assert!(!is_resolution(None, headers()));
        let data = b"data".as_slice();
        assert_eq!(parking_resumed_of(Some(data), headers()), None, "a value is data that somebody parked");
        let paused = [(PARKING, Some(b"paused".as_slice())), (PARKING_GROUP, Some(b"billing".as_slice()))];
        assert_eq!(parking_resumed_of(None, paused), None);
        assert!(pairs.iter().all(|(name, _)| is_dead_letter_header(name)));
    }
}
