//! # A time on the command line
//!
//! One form for every command. A person in another zone than the server's must not guess which is meant, so the zone is to be said.

use shared_messages::OccurredAt;

/// It is no such time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be a time with its zone, such as 2026-11-29T08:00Z or 2026-11-29T17:00:30+09:00")]
pub struct UnknownTime;

/// Reads `2026-11-29T08:00[:00[.000]]`, and `Z` or an offset such as `+09:00`.
pub(crate) fn time(text: &str) -> Result<OccurredAt, UnknownTime> {
    let (_, time_of_day) = text.split_once('T').ok_or(UnknownTime)?;
    if !time_of_day.contains(['Z', '+', '-']) {
        return Err(UnknownTime);
    }
    OccurredAt::parse(text).map_err(|_| UnknownTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_enough_and_a_zone_must_be_said() {
        let eight = time("2026-11-29T08:00Z").unwrap();
        for same in ["2026-11-29T08:00:00Z", "2026-11-29T17:00+09:00", "2026-11-29T04:30:00.000-03:30"] {
            assert_eq!(time(same), Ok(eight), "{same}");
        }
        for wrong in
            ["", "2026-11-29", "2026-11-29T08:00", "2026-11-29T08:00:00", "2026-11-29T25:00Z", "08:00Z"]
        {
            assert_eq!(time(wrong), Err(UnknownTime), "{wrong}");
        }
    }
}
