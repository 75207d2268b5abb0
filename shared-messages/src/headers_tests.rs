//! Headers are read back as they were written, and nobody's headers make the reader panic.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn read(pairs: &[(&str, Option<&[u8]>)]) -> Result<ReceivedHeaders, HeaderError> {
    EventHeaders::from_pairs(pairs.iter().copied())
}

#[test]
fn a_record_without_headers_is_version_one() {
    let received = read(&[("__TypeId__", Some(b"com.example.OrderCompletedMessage"))]).unwrap();
    assert_eq!(received.event_type, EventType::OrderCompletedV1);
    assert_eq!((received.event_id, received.source, received.trace), (None, None, None));
}

#[test]
fn an_unknown_type_or_version_is_not_guessed() {
    for unknown in ["order-completed.v2", "order-completed", "order-cancelled.v1", "", "Order-Completed.v1"] {
        let found = unknown.to_owned();
        assert_eq!(read(&[(CE_TYPE, Some(unknown.as_bytes()))]), Err(HeaderError::UnknownVersion { found }));
    }
    assert_eq!(
        read(&[(CE_SPECVERSION, Some(b"2.0"))]),
        Err(HeaderError::UnknownVersion { found: "CloudEvents 2.0".to_owned() })
    );
}

#[test]
fn a_header_that_is_not_what_it_says_is_named() {
    for (name, value) in [(CE_ID, &b"15"[..]), (CE_TIME, b"now"), (CE_SOURCE, b"\xff"), (CE_TYPE, b"\xff")] {
        let error = read(&[(name, Some(value))]).unwrap_err();
        assert!(matches!(&error, HeaderError::Invalid { name: named, .. } if *named == name), "{error}");
    }
}

#[test]
fn a_trace_that_cannot_be_read_does_not_stop_the_record() {
    let received = read(&[(TRACEPARENT, Some(b"\xff")), (TRACESTATE, Some(b"\xff"))]).unwrap();
    assert_eq!(received.trace, None);
}

#[test]
fn of_two_headers_the_last_counts_and_one_without_value_is_absent() {
    let received = read(&[(CE_SOURCE, Some(b"/one")), (CE_SOURCE, Some(b"/two")), (CE_TYPE, None)]).unwrap();
    assert_eq!(received.source.as_deref(), Some("/two"));
    assert_eq!(received.event_type, EventType::OrderCompletedV1);
}

#[test]
fn an_unknown_type_of_any_length_makes_a_short_error() {
    let error = read(&[(CE_TYPE, Some("é".repeat(10_000).as_bytes()))]).unwrap_err();
    assert!(error.to_string().len() < 300);
}

fn any_trace() -> impl Strategy<Value = TraceContext> {
    (1..=u128::MAX, 1..=u64::MAX, any::<u8>(), option::of("[ -~]{1,60}")).prop_map(
        |(trace_id, parent_id, flags, state)| {
            TraceContext::new(format!("00-{trace_id:032x}-{parent_id:016x}-{flags:02x}"), state).unwrap()
        },
    )
}

fn any_headers() -> impl Strategy<Value = EventHeaders> {
    let time = crate::occurred_at::tests::any_moment().prop_map(OccurredAt::from_datetime);
    (any::<u128>(), ".{1,40}", time, any::<i64>(), option::of(any_trace())).prop_map(
        |(event_id, source, time, order_id, trace)| EventHeaders {
            event_id: Uuid::from_u128(event_id),
            event_type: EventType::OrderCompletedV1,
            source,
            time,
            subject: crate::topics::record_key(order_id),
            trace,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_equal(headers in any_headers()) {
        let pairs = headers.to_pairs();
        let received = EventHeaders::from_pairs(pairs.iter().map(|(name, value)| (*name, Some(value.as_bytes())))).unwrap();
        let expected = ReceivedHeaders {
            event_id: Some(headers.event_id),
            event_type: headers.event_type,
            source: Some(headers.source),
            time: Some(headers.time),
            subject: Some(headers.subject),
            trace: headers.trace,
        };
        prop_assert_eq!(received, expected);
    }

    #[test]
    fn arbitrary_headers_never_panic(
        pairs in vec((prop_oneof![Just(CE_ID), Just(CE_TYPE), Just(CE_TIME), Just(TRACEPARENT), Just(TRACESTATE), Just("other")], option::of(vec(any::<u8>(), 0..80))), 0..12)
    ) {
        EventHeaders::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_deref()))).ok();
    }
}
