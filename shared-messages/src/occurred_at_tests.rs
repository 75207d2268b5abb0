//! What is read, what is written, and that nothing else passes.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> OccurredAt {
    OccurredAt::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn from_json(json: &str) -> Result<OccurredAt, serde_json::Error> {
    serde_json::from_str(json)
}

#[test]
fn what_we_create_has_six_digits_and_what_we_read_keeps_nine() {
    let created = OccurredAt::from_datetime(at("2025-05-29T01:43:46.137371799Z").as_datetime());
    assert_eq!(created.to_string(), "2025-05-29T01:43:46.137371Z");
    assert_eq!(at("2025-05-29T01:43:46Z").to_string(), "2025-05-29T01:43:46.000000Z");
    assert_eq!(at("2025-05-29T01:43:46.137371701Z").to_string(), "2025-05-29T01:43:46.137371701Z");
    assert_eq!(OccurredAt::now().as_datetime().nanosecond() % 1_000, 0);
}

#[test]
fn a_records_timestamp_is_a_moment_if_the_wire_has_its_year() {
    assert_eq!(OccurredAt::from_millis(1_748_483_026_137), Some(at("2025-05-29T01:43:46.137Z")));
    assert_eq!(
        (OccurredAt::from_millis(i64::MAX), OccurredAt::from_millis(253_402_300_800_000)),
        (None, None)
    );
}

#[test]
fn every_form_of_a_spring_producer_is_read_as_utc() {
    let expected = at("2025-05-29T01:43:46.137371700Z");
    for json in [
        r#""2025-05-29T01:43:46.1373717""#,
        r#""2025-05-29T01:43:46.137371700""#,
        r#""2025-05-29T01:43:46.1373717Z""#,
        r#""2025-05-29T10:43:46.1373717+09:00""#,
        r#""2025-05-28T20:13:46.1373717-05:30""#,
        "[2025,5,29,1,43,46,137371700]",
    ] {
        assert_eq!(from_json(json).unwrap(), expected, "{json}");
    }
    for json in
        [r#""2025-05-29T01:43""#, r#""2025-05-29T01:43:00Z""#, "[2025,5,29,1,43]", "[2025,5,29,1,43,0]"]
    {
        assert_eq!(from_json(json).unwrap(), at("2025-05-29T01:43:00Z"), "{json}");
    }
}

#[test]
fn what_is_no_time_is_an_error() {
    for json in [
        r#""""#,
        r#""2025-05-29""#,
        r#""2025-05-29 01:43:46""#,
        r#""2025-05-29T01:43:46.""#,
        r#""2025-05-29T01:43:46.1373717001""#,
        r#""2025-05-29T01:43:46 ""#,
        r#""2025-05-29T01:43:46ZZ""#,
        r#""2025-05-29T01:43:46+0900""#,
        r#""2025-05-29T01:43:46+09:60""#,
        r#""2025-05-29T01:43:60Z""#,
        r#""2025-05-29T24:00:00Z""#,
        r#""2025-02-29T01:43:46Z""#,
        r#""2025-13-01T01:43:46Z""#,
        r#""12025-05-29T01:43:46Z""#,
        r#""+12025-05-29T01:43:46Z""#,
        r#""-001-05-29T01:43:46Z""#,
        r#""0000-01-01T00:00:00+01:00""#,
        r#""9999-12-31T23:59:59-01:00""#,
        "[]",
        "[2025,5,29,1]",
        "[10000,1,1,0,0]",
        "[-1,1,1,0,0]",
        "[2025,2,30,0,0]",
        "[2025,5,29,1,43,60]",
        "[2025,5,29,1,43,46,1000000000]",
        "[2025,5,29,1,43,46,1,1]",
        "[2025,5,29,1,43,46.5]",
        "[4294967296,1,1,0,0]",
        "1748482926",
        "null",
        "{}",
    ] {
        assert!(from_json(json).is_err(), "{json} was read as {:?}", from_json(json));
    }
}

#[test]
fn a_time_that_the_wire_has_no_form_for_is_not_written() {
    let too_late = OccurredAt::from_datetime(DateTime::<Utc>::MAX_UTC);
    assert!(serde_json::to_string(&too_late).is_err());
    let leap = NaiveDate::from_ymd_opt(2016, 12, 31).unwrap().and_hms_nano_opt(23, 59, 59, 1_500_000_000);
    let leap = OccurredAt::from_datetime(leap.unwrap().and_utc());
    assert_eq!(leap.to_string(), "2016-12-31T23:59:59.999999Z");
}

#[test]
fn local_text_has_the_digits_of_java() {
    for (given, java) in [
        ("2025-05-29T01:43:46.137371700Z", "2025-05-29T01:43:46.137371700"),
        ("2025-05-29T01:43:46.137371Z", "2025-05-29T01:43:46.137371"),
        ("2025-05-29T01:43:46.137Z", "2025-05-29T01:43:46.137"),
        ("2025-05-29T01:43:46.100Z", "2025-05-29T01:43:46.100"),
        ("2025-05-29T01:43:46Z", "2025-05-29T01:43:46"),
        ("2025-05-29T01:43:00.000001Z", "2025-05-29T01:43:00.000001"),
        ("2025-05-29T01:43:00Z", "2025-05-29T01:43"),
        ("2025-05-29T00:00:00Z", "2025-05-29T00:00"),
        ("0007-05-29T00:00:00Z", "0007-05-29T00:00"),
    ] {
        assert_eq!(at(given).as_local_date_time().to_string(), java);
    }
}

/// Every moment of the years 0 to 9999, to the nanosecond.
pub(crate) fn any_moment() -> impl Strategy<Value = DateTime<Utc>> {
    let first = at("0000-01-01T00:00:00Z").as_datetime().timestamp();
    let last = at("9999-12-31T23:59:59Z").as_datetime().timestamp();
    (first..=last, 0..=LAST_NANO).prop_map(|(second, nanos)| DateTime::from_timestamp(second, nanos).unwrap())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_equal(moment in any_moment()) {
        let occurred_at = OccurredAt(moment);
        let text = occurred_at.to_string();
        prop_assert_eq!(OccurredAt::parse(&text), Ok(occurred_at));
        let local = occurred_at.as_local_date_time().to_string();
        prop_assert_eq!(OccurredAt::parse(&local), Ok(occurred_at));
    }

    #[test]
    fn creating_loses_less_than_a_microsecond(moment in any_moment()) {
        let lost = moment - OccurredAt::from_datetime(moment).as_datetime();
        prop_assert!(lost >= TimeDelta::zero() && lost < TimeDelta::microseconds(1));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,40}") {
        OccurredAt::parse(&text).ok();
    }

    #[test]
    fn no_text_that_looks_like_a_time_makes_it_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{0,12})?)?([Z+-][0-9:]{0,6})?") {
        OccurredAt::parse(&text).ok();
    }

    #[test]
    fn no_array_makes_it_panic(parts in proptest::collection::vec(any::<i64>(), 0..10)) {
        from_json(&serde_json::to_string(&parts).unwrap()).ok();
    }
}
