//! # The time at which something occurred, as the wire has it
//!
//! Written as ISO 8601 in UTC with a `Z` and six digits of fraction: unambiguous, and readable by a Spring
//! consumer whose field is a `LocalDateTime` (which refuses `+00:00`). Times that we create are truncated
//! to microseconds, because that is what PostgreSQL keeps; a time that was *read* with nanoseconds keeps
//! its nine digits.
//!
//! Reads everything a Spring producer sends: ISO text with a `Z`, with an offset or without a zone (taken
//! as UTC), seconds and fraction optional as Java prints them, and the array
//! `[2025,5,29,1,43,46,137371700]`, whose seconds and nanoseconds may be absent.
//!
//! Years 0 to 9999 only: outside of them ISO text needs a sign that readers do not expect.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::{self, Serializer};
use serde::{Deserialize, Serialize};

const NANOS_PER_MICRO: u32 = 1_000;
const LAST_NANO: u32 = 999_999_999;

/// A moment in UTC; see the module's header for its forms on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OccurredAt(DateTime<Utc>);

/// Text that is no time, or a time that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    /// The text has another form than ISO 8601 date and time.
    #[error("not an ISO 8601 date and time")]
    Form,
    /// The form is right, but there is no such day, hour, offset or the like.
    #[error("no such date or time")]
    Range,
    /// The year is outside of 0 to 9999.
    #[error("the year is outside of 0 to 9999")]
    Year,
}

impl OccurredAt {
    /// The present moment, in whole microseconds.
    pub fn now() -> Self {
        Self::from_datetime(Utc::now())
    }

    /// Cuts off what is below a microsecond, so that the value equals its copy in the database.
    pub fn from_datetime(moment: DateTime<Utc>) -> Self {
        // A leap second is kept by chrono as a nanosecond beyond the last one; the wire has no form for it.
        let nanos = moment.nanosecond().min(LAST_NANO);
        Self(moment.with_nanosecond(nanos - nanos % NANOS_PER_MICRO).unwrap_or(moment))
    }

    /// Of a record's timestamp: milliseconds since 1970, in the years of the wire.
    pub fn from_millis(millis: i64) -> Option<Self> {
        in_years_of_the_wire(DateTime::from_timestamp_millis(millis)?).map(Self).ok()
    }

    /// The moment itself.
    pub fn as_datetime(&self) -> DateTime<Utc> {
        self.0
    }

    /// The moment that lies so far before this one, or the earliest there is.
    #[must_use]
    pub fn before(&self, by: Duration) -> Self {
        let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        Self::from_datetime(self.0.checked_sub_signed(by).unwrap_or(DateTime::UNIX_EPOCH))
    }

    /// Reads ISO text: `2025-05-29T01:43[:46[.137371700]][Z|+09:00]`.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let mut rest = Digits(text.as_bytes());
        let year = rest.number(4)?;
        rest.expect(b'-')?;
        let month = rest.number(2)?;
        rest.expect(b'-')?;
        let day = rest.number(2)?;
        rest.expect(b'T')?;
        let hour = rest.number(2)?;
        rest.expect(b':')?;
        let minute = rest.number(2)?;
        let second = if rest.accept(b':') { rest.number(2)? } else { 0 };
        let nanos = if rest.accept(b'.') { rest.fraction()? } else { 0 };
        let local = datetime([year, month, day, hour, minute, second], nanos)?;
        let utc = local.checked_sub_signed(rest.offset()?).ok_or(InvalidTime::Range)?;
        in_years_of_the_wire(utc.and_utc()).map(Self)
    }

    /// As `java.time.LocalDateTime` prints itself: no zone, no seconds when they and the fraction are
    /// zero, and a fraction of 0, 3, 6 or 9 digits.
    pub fn as_local_date_time(&self) -> impl fmt::Display {
        LocalDateTimeText(self.0.naive_utc())
    }
}

/// ISO text in UTC with a `Z`, six digits of fraction, nine when there are nanoseconds.
impl fmt::Display for OccurredAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = if self.0.nanosecond().is_multiple_of(NANOS_PER_MICRO) {
            "%Y-%m-%dT%H:%M:%S%.6fZ"
        } else {
            "%Y-%m-%dT%H:%M:%S%.9fZ"
        };
        write!(f, "{}", self.0.format(format))
    }
}

struct LocalDateTimeText(NaiveDateTime);

impl fmt::Display for LocalDateTimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%dT%H:%M"))?;
        let (second, nanos) = (self.0.second(), self.0.nanosecond());
        if second == 0 && nanos == 0 {
            return Ok(());
        }
        write!(f, ":{second:02}")?;
        match nanos {
            0 => Ok(()),
            n if n.is_multiple_of(1_000_000) => write!(f, ".{:03}", n / 1_000_000),
            n if n.is_multiple_of(1_000) => write!(f, ".{:06}", n / 1_000),
            n => write!(f, ".{n:09}"),
        }
    }
}

fn in_years_of_the_wire(moment: DateTime<Utc>) -> Result<DateTime<Utc>, InvalidTime> {
    if (0..=9999).contains(&moment.year()) { Ok(moment) } else { Err(InvalidTime::Year) }
}

fn datetime(parts: [u32; 6], nanos: u32) -> Result<NaiveDateTime, InvalidTime> {
    let [year, month, day, hour, minute, second] = parts;
    let year = i32::try_from(year).map_err(|_| InvalidTime::Year)?;
    if year > 9999 {
        return Err(InvalidTime::Year);
    }
    // chrono would take a nanosecond beyond the last one for a leap second.
    if nanos > LAST_NANO {
        return Err(InvalidTime::Range);
    }
    NaiveDate::from_ymd_opt(year, month, day)
        .and_then(|date| date.and_hms_nano_opt(hour, minute, second, nanos))
        .ok_or(InvalidTime::Range)
}

/// What is left of the text.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn accept(&mut self, wanted: u8) -> bool {
        if let [first, rest @ ..] = self.0
            && *first == wanted
        {
            self.0 = rest;
            return true;
        }
        false
    }

    fn expect(&mut self, wanted: u8) -> Result<(), InvalidTime> {
        if self.accept(wanted) { Ok(()) } else { Err(InvalidTime::Form) }
    }

    fn digit(&mut self) -> Option<u32> {
        match self.0 {
            [first @ b'0'..=b'9', rest @ ..] => {
                self.0 = rest;
                Some(u32::from(first - b'0'))
            }
            _ => None,
        }
    }

    fn number(&mut self, digits: usize) -> Result<u32, InvalidTime> {
        let mut number = 0;
        for _ in 0..digits {
            number = number * 10 + self.digit().ok_or(InvalidTime::Form)?;
        }
        Ok(number)
    }

    /// One to nine digits after the point, as nanoseconds. Trailing zeros may have been cut off.
    fn fraction(&mut self) -> Result<u32, InvalidTime> {
        let mut nanos = 0;
        let mut place = 100_000_000;
        while let Some(digit) = self.digit() {
            if place == 0 {
                return Err(InvalidTime::Form);
            }
            nanos += digit * place;
            place /= 10;
        }
        if place == 100_000_000 { Err(InvalidTime::Form) } else { Ok(nanos) }
    }

    /// How far ahead of UTC the text is; no zone means UTC. Nothing may follow.
    fn offset(mut self) -> Result<TimeDelta, InvalidTime> {
        let sign = match self.0 {
            [] | [b'Z'] => return Ok(TimeDelta::zero()),
            [b'+', ..] => 1,
            [b'-', ..] => -1,
            _ => return Err(InvalidTime::Form),
        };
        self.0 = self.0.get(1..).unwrap_or_default();
        let hours = self.number(2)?;
        self.expect(b':')?;
        let minutes = self.number(2)?;
        if !self.0.is_empty() {
            return Err(InvalidTime::Form);
        }
        if hours > 18 || minutes > 59 {
            return Err(InvalidTime::Range);
        }
        Ok(TimeDelta::minutes(sign * i64::from(hours * 60 + minutes)))
    }
}

impl Serialize for OccurredAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let moment = in_years_of_the_wire(self.0).map_err(ser::Error::custom)?;
        serializer.collect_str(&Self(moment))
    }
}

impl<'de> Deserialize<'de> for OccurredAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WireForm)
    }
}

struct WireForm;

impl<'de> Visitor<'de> for WireForm {
    type Value = OccurredAt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ISO 8601 text or an array [year, month, day, hour, minute, second, nanosecond]")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OccurredAt, E> {
        OccurredAt::parse(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<OccurredAt, A::Error> {
        let mut date_time = [0_u32; 6];
        for (index, part) in date_time.iter_mut().enumerate() {
            match parts.next_element()? {
                Some(number) => *part = number,
                None if index == 5 => break,
                None => return Err(de::Error::invalid_length(index, &self)),
            }
        }
        let nanos = parts.next_element()?.unwrap_or(0);
        if parts.next_element::<de::IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(8, &self));
        }
        let moment = datetime(date_time, nanos).map_err(de::Error::custom)?;
        Ok(OccurredAt(moment.and_utc()))
    }
}

#[cfg(test)]
impl schemars::JsonSchema for OccurredAt {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OccurredAt".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A moment in UTC, as published: six digits of fraction, or nine.",
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.(\d{6}|\d{9})Z$"
        })
    }
}

#[cfg(test)]
#[path = "occurred_at_tests.rs"]
pub(crate) mod tests;
