//! # Parking goes on
//!
//! A consumer stops a partition when too many of its records become dead letters, until an operator decides. That
//! decision stands in the dead-letter topic as well: a record of the partition, without key and value, behind which
//! the consumer counts anew.

use crate::OccurredAt;

/// What an operator says of a partition; always `resumed`.
pub const PARKING: &str = "dead_letter_parking";
/// When it was said.
pub const PARKING_RESUMED_AT: &str = "dead_letter_parking_resumed_at";

const RESUMED: &str = "resumed";

/// All headers of the record by which an operator lets parking go on.
pub fn parking_resumed(at: OccurredAt) -> Vec<(&'static str, Vec<u8>)> {
    vec![(PARKING, RESUMED.into()), (PARKING_RESUMED_AT, at.to_string().into_bytes())]
}

/// Whether a record of a dead-letter topic says that parking goes on. It is neither a dead letter nor a resolution.
pub fn is_parking_resumed<'a>(
    value: Option<&[u8]>,
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> bool {
    value.is_none()
        && headers.into_iter().any(|(name, value)| name == PARKING && value == Some(RESUMED.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::{is_dead_letter_header, is_resolution};

    #[test]
    fn it_is_told_from_everything_else_in_the_topic() {
        let pairs = parking_resumed(OccurredAt::parse("2026-11-29T08:30:00Z").unwrap());
        let headers = || pairs.iter().map(|(name, value)| (*name, Some(value.as_slice())));
        assert!(is_parking_resumed(None, headers()) && !is_resolution(None, headers()));
        assert!(!is_parking_resumed(Some(b"data"), headers()), "a value is data that somebody parked");
        assert!(!is_parking_resumed(None, [(PARKING, Some(b"paused".as_slice()))]));
        assert!(pairs.iter().all(|(name, _)| is_dead_letter_header(name)));
    }
}
