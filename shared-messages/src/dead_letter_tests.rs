//! Dead letters and resolutions are written byte for byte as other teams read them, and read back equal.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::occurred_at::tests::any_moment;

fn pairs<'a>(written: &'a [(&'static str, Vec<u8>)]) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
    written.iter().map(|(name, value)| (*name, Some(value.as_slice())))
}

fn time(text: &str) -> OccurredAt {
    OccurredAt::parse(text).unwrap()
}

fn letter() -> DeadLetter {
    DeadLetter {
        original: OriginalRecord {
            topic: "order-completed".to_owned(),
            partition: 2,
            offset: 4711,
            timestamp: Some(1_748_483_026_137),
            timestamp_type: Some(TimestampType::CreateTime),
        },
        consumer_group: "data-platform-consumer".to_owned(),
        cause: DeadLetterCause::Rejected,
        message: "422: no such product".to_owned(),
        attempts: 3,
        failing_since: Some(time("2025-05-29T01:43:47Z")),
        parked_at: time("2025-05-29T01:44:02.5Z"),
    }
}

/// Never change it to make it pass: such records lie in topics, and other teams' tools read them.
#[test]
fn a_dead_letter_is_written_byte_for_byte() {
    let golden: [(&str, &[u8]); 12] = [
        ("kafka_dlt-original-topic", b"order-completed"),
        ("kafka_dlt-original-partition", b"\x00\x00\x00\x02"),
        ("kafka_dlt-original-offset", b"\x00\x00\x00\x00\x00\x00\x12\x67"),
        ("kafka_dlt-original-timestamp", b"\x00\x00\x01\x97\x19\xb5\xac\xd9"),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-original-consumer-group", b"data-platform-consumer"),
        ("kafka_dlt-exception-fqcn", b"dead_letter.Rejected"),
        ("kafka_dlt-exception-message", b"422: no such product"),
        ("dead_letter_cause", b"rejected"),
        ("dead_letter_attempts", b"3"),
        ("dead_letter_failing_since", b"2025-05-29T01:43:47.000000Z"),
        ("dead_letter_parked_at", b"2025-05-29T01:44:02.500000Z"),
    ];
    let written = letter().to_pairs();
    let written: Vec<(&str, &[u8])> = written.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    assert_eq!(written, golden);
}

/// Never change it to make it pass.
#[test]
fn a_resolution_is_written_byte_for_byte() {
    let resolution = Resolution {
        outcome: ResolutionOutcome::Replayed,
        resolved_offset: 17,
        resolved_at: time("2025-05-30T09:00:00Z"),
    };
    let golden: [(&str, &[u8]); 3] = [
        ("dead_letter_resolution", b"replayed"),
        ("dead_letter_resolved_offset", b"17"),
        ("dead_letter_resolved_at", b"2025-05-30T09:00:00.000000Z"),
    ];
    let written = resolution.to_pairs();
    let written: Vec<(&str, &[u8])> = written.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    assert_eq!(written, golden);
}

#[test]
fn the_names_of_causes_are_stable() {
    let names: Vec<_> = DeadLetterCause::ALL.map(|cause| (cause.as_str(), cause.exception_name())).into();
    let expected = [
        ("undecodable", "dead_letter.Undecodable"),
        ("rejected", "dead_letter.Rejected"),
        ("failing", "dead_letter.Failing"),
    ];
    assert_eq!(names, expected);
}

/// What spring-kafka's `DeadLetterPublishingRecoverer` adds to a record.
#[test]
fn a_dead_letter_of_spring_is_read() {
    let stack: &[u8] = b"org.springframework.kafka.KafkaException: ...";
    let spring: [(&str, Option<&[u8]>); 10] = [
        ("__TypeId__", Some(b"com.example.OrderCompletedMessage")),
        ("kafka_dlt-original-topic", Some(b"order-completed")),
        ("kafka_dlt-original-partition", Some(b"\x00\x00\x00\x02")),
        ("kafka_dlt-original-offset", Some(b"\x00\x00\x00\x00\x00\x00\x12\x67")),
        ("kafka_dlt-original-timestamp", Some(b"\x00\x00\x01\x97\x19\xb5\xac\xd9")),
        ("kafka_dlt-original-timestamp-type", Some(b"NoTimestampType")),
        ("kafka_dlt-original-consumer-group", Some(b"billing")),
        ("kafka_dlt-exception-fqcn", Some(b"java.lang.IllegalStateException")),
        ("kafka_dlt-exception-message", Some(b"no \xff such product")),
        ("kafka_dlt-exception-stacktrace", Some(stack)),
    ];
    let expected = ReceivedDeadLetter {
        original: OriginalRecord { timestamp_type: None, ..letter().original },
        consumer_group: Some("billing".to_owned()),
        cause: None,
        exception: Some("java.lang.IllegalStateException".to_owned()),
        message: Some("no \u{fffd} such product".to_owned()),
        attempts: None,
        failing_since: None,
        parked_at: None,
    };
    assert_eq!(DeadLetter::from_pairs(spring), Ok(expected));
    let of_spring = spring.iter().filter(|(name, _)| is_dead_letter_header(name)).count();
    assert_eq!(of_spring, 9, "all of them but the record's own are dropped when it is parked anew");
}

#[test]
fn what_does_not_tell_where_the_record_lay_is_no_dead_letter() {
    for missing in [ORIGINAL_TOPIC, ORIGINAL_PARTITION, ORIGINAL_OFFSET] {
        let written: Vec<_> = letter().to_pairs().into_iter().filter(|(name, _)| *name != missing).collect();
        assert_eq!(DeadLetter::from_pairs(pairs(&written)), Err(DeadLetterError::Missing { name: missing }));
    }
}

#[test]
fn a_header_that_is_not_what_it_says_is_named() {
    let wrong: [(&str, &[u8]); 4] = [
        (ORIGINAL_TOPIC, b"\xff"),
        (ORIGINAL_PARTITION, b"2"),
        (ORIGINAL_OFFSET, b"4711"),
        (ORIGINAL_TIMESTAMP, b""),
    ];
    for (name, value) in wrong {
        let written = letter().to_pairs();
        let error = DeadLetter::from_pairs(pairs(&written).chain([(name, Some(value))])).unwrap_err();
        assert!(matches!(&error, DeadLetterError::Invalid { name: named, .. } if *named == name), "{error}");
    }
}

#[test]
fn what_a_later_version_may_say_otherwise_hides_nothing_else() {
    let other: [(&str, Option<&[u8]>); 4] = [
        (CAUSE, Some(b"bored")),
        (ATTEMPTS, Some(b"-1")),
        (PARKED_AT, Some(b"now")),
        (FAILING_SINCE, Some(b"\xff")),
    ];
    let written = letter().to_pairs();
    let received = DeadLetter::from_pairs(pairs(&written).chain(other)).unwrap();
    assert_eq!(
        (&received.original, received.consumer_group),
        (&letter().original, Some(letter().consumer_group))
    );
    assert_eq!(
        (received.cause, received.attempts, received.parked_at, received.failing_since),
        (None, None, None, None)
    );
}

#[test]
fn a_long_message_is_cut_where_a_character_ends_and_shows_it() {
    for text in ["x".repeat(LONGEST_MESSAGE_BYTES + 1), "é".repeat(5_000), "漢".repeat(5_000)] {
        let received =
            DeadLetter::from_pairs(pairs(&DeadLetter { message: text.clone(), ..letter() }.to_pairs()));
        let message = received.unwrap().message.unwrap();
        let beginning = message.strip_suffix('…').unwrap();
        assert!(text.starts_with(beginning));
        assert!((LONGEST_MESSAGE_BYTES - 4..=LONGEST_MESSAGE_BYTES).contains(&message.len()), "{message}");
    }
    let whole = "x".repeat(LONGEST_MESSAGE_BYTES);
    assert_eq!(brief(&whole), whole);
}

#[test]
fn a_record_with_a_value_is_never_taken_for_a_resolution() {
    let resolution = [(RESOLUTION_OUTCOME, Some(&b"discarded"[..]))];
    assert!(is_resolution(None, resolution));
    assert!(!is_resolution(Some(b"{}"), resolution));
    assert!(!is_resolution(None, pairs(&letter().to_pairs())), "a parked record may have no value");
}

fn any_time() -> impl Strategy<Value = OccurredAt> {
    any_moment().prop_map(OccurredAt::from_datetime)
}

fn any_letter() -> impl Strategy<Value = DeadLetter> {
    let timestamp_type = prop_oneof![Just(TimestampType::CreateTime), Just(TimestampType::LogAppendTime)];
    let original =
        ("[a-z.-]{1,20}", any::<i32>(), any::<i64>(), option::of(any::<i64>()), option::of(timestamp_type));
    let cause = proptest::sample::select(DeadLetterCause::ALL.to_vec());
    let times = (option::of(any_time()), any_time());
    (original, ".{0,40}", cause, ".{0,200}", any::<u32>(), times).prop_map(
        |((topic, partition, offset, timestamp, timestamp_type), group, cause, message, attempts, times)| {
            DeadLetter {
                original: OriginalRecord { topic, partition, offset, timestamp, timestamp_type },
                consumer_group: group,
                cause,
                message,
                attempts,
                failing_since: times.0,
                parked_at: times.1,
            }
        },
    )
}

fn any_header() -> impl Strategy<Value = (String, Option<Vec<u8>>)> {
    let names: Vec<_> = letter().to_pairs().into_iter().map(|(name, _)| name.to_owned()).collect();
    let ours = [RESOLUTION_OUTCOME, RESOLVED_OFFSET, RESOLVED_AT].map(str::to_owned);
    let names = names.into_iter().chain(ours).collect::<Vec<_>>();
    (prop_oneof![proptest::sample::select(names), ".{0,12}"], option::of(vec(any::<u8>(), 0..12)))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_equal(letter in any_letter()) {
        let written = letter.to_pairs();
        prop_assert!(written.iter().all(|(name, _)| is_dead_letter_header(name)));
        let received = DeadLetter::from_pairs(pairs(&written)).unwrap();
        let expected = ReceivedDeadLetter {
            original: letter.original,
            consumer_group: Some(letter.consumer_group),
            cause: Some(letter.cause),
            exception: Some(letter.cause.exception_name().to_owned()),
            message: Some(letter.message),
            attempts: Some(letter.attempts),
            failing_since: letter.failing_since,
            parked_at: Some(letter.parked_at),
        };
        prop_assert_eq!(received, expected);
    }

    #[test]
    fn a_resolution_is_read_back_equal(replayed in any::<bool>(), resolved_offset in any::<i64>(), resolved_at in any_time()) {
        let outcome = if replayed { ResolutionOutcome::Replayed } else { ResolutionOutcome::Discarded };
        let resolution = Resolution { outcome, resolved_offset, resolved_at };
        let written = resolution.to_pairs();
        prop_assert!(is_resolution(None, pairs(&written)));
        prop_assert!(written.iter().all(|(name, _)| is_dead_letter_header(name)));
        prop_assert_eq!(Resolution::from_pairs(pairs(&written)), Ok(resolution));
    }

    #[test]
    fn nobodys_headers_make_the_reader_panic(headers in vec(any_header(), 0..12)) {
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        // Errors are fine.
        DeadLetter::from_pairs(headers.clone()).ok();
        Resolution::from_pairs(headers).ok();
    }
}
