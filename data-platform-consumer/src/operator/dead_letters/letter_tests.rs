//! What is open, what is resolved, and that a dead letter is read as the record that it was.

use shared_messages::dead_letter::{DeadLetterCause, ResolutionOutcome, parking_resumed};

use super::*;

const OLD_FORM: &[u8] = br#"{"occurredAt":"2025-05-29T01:43","orderId":15}"#;

type Headers = Vec<(&'static str, Vec<u8>)>;

fn dead_letter() -> Headers {
    let letter = DeadLetter {
        original: OriginalRecord {
            topic: "order-completed".to_owned(),
            partition: 2,
            offset: 4711,
            timestamp: Some(9),
            timestamp_type: Some(TimestampType::CreateTime),
        },
        consumer_group: "platform".to_owned(),
        cause: DeadLetterCause::Rejected,
        message: "no such product".to_owned(),
        attempts: 1,
        failing_since: None,
        parked_at: OccurredAt::parse("2025-05-29T02:00").unwrap(),
    };
    letter.to_pairs()
}

fn resolution(resolved_offset: i64, outcome: ResolutionOutcome) -> Headers {
    let resolved_at = OccurredAt::parse("2025-05-30T02:00").unwrap();
    Resolution { outcome, resolved_offset, resolved_at }.to_pairs()
}

fn record(partition: i32, offset: i64, value: Option<&[u8]>, headers: &Headers) -> Record {
    let position = RecordPosition { topic: "order-completed-dlt".into(), partition, offset };
    let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_slice())));
    let time = RecordTime { millis: 1_748_483_026_137, kind: TimestampType::LogAppendTime };
    Record::new(position, Some(time), Some(b"15"), value, headers)
}

fn open(letters: &Letters) -> Vec<String> {
    letters.iter().filter(|letter| letter.resolution.is_none()).map(|letter| letter.id.to_string()).collect()
}

#[test]
fn a_resolution_resolves_the_dead_letter_that_it_names_and_no_other() {
    let mut letters = Letters::default();
    for (partition, offset) in [(0, 3), (0, 4), (1, 3)] {
        assert_eq!(letters.take(record(partition, offset, Some(OLD_FORM), &dead_letter())), None);
    }
    let discarded = resolution(3, ResolutionOutcome::Discarded);
    let resolved = letters.take(record(0, 5, None, &discarded)).unwrap();
    assert_eq!(resolved.0.to_string(), "0:3");
    assert_eq!(open(&letters), ["0:4", "1:3"]);
}

#[test]
fn of_two_resolutions_the_first_counts_and_one_of_nothing_resolves_nothing() {
    let mut letters = Letters::default();
    letters.take(record(0, 3, Some(OLD_FORM), &dead_letter()));
    letters.take(record(0, 4, None, &resolution(3, ResolutionOutcome::Replayed)));
    assert_eq!(letters.take(record(0, 5, None, &resolution(3, ResolutionOutcome::Discarded))), None);
    assert_eq!(letters.take(record(0, 6, None, &resolution(2, ResolutionOutcome::Discarded))), None);
    let letter = letters.iter().next().unwrap();
    assert_eq!(letter.resolution.unwrap().outcome, ResolutionOutcome::Replayed);
    assert_eq!(letters.iter().count(), 1, "resolutions are no dead letters");
}

#[test]
fn a_resolution_that_cannot_be_read_leaves_everything_open() {
    let mut letters = Letters::default();
    letters.take(record(0, 3, Some(OLD_FORM), &dead_letter()));
    let mut broken = resolution(3, ResolutionOutcome::Discarded);
    broken.retain(|(name, _)| *name != "dead_letter_resolved_offset");
    assert_eq!(letters.take(record(0, 4, None, &broken)), None);
    assert_eq!(open(&letters), ["0:3"]);
    assert_eq!(letters.unreadable_resolutions(), ["0:4: header `dead_letter_resolved_offset` is missing"]);
}

/// Without an id an event is known by where it lay: the platform must be told of the same place again.
#[test]
fn an_event_is_the_one_that_it_was_before_it_was_parked() {
    let mut letters = Letters::default();
    let mut headers = dead_letter();
    headers.insert(0, ("ce_type", b"order-completed.v1".to_vec()));
    letters.take(record(0, 3, Some(OLD_FORM), &headers));
    let event = letters.iter().next().unwrap().event.clone().unwrap();
    assert_eq!(event.idempotency_key(), "order-completed-2-4711");
    assert_eq!(event.record.timestamp(), Some(RecordTime { millis: 9, kind: TimestampType::CreateTime }));
    let names: Vec<&str> = event.record.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["ce_type"], "what parking added is gone");
}

#[test]
fn a_record_that_is_no_dead_letter_is_shown_all_the_same() {
    let mut letters = Letters::default();
    letters.take(record(0, 3, None, &Headers::new()));
    let letter = letters.iter().next().unwrap();
    assert!(letter.words().contains("`kafka_dlt-original-topic` is missing"), "{}", letter.words());
    assert_eq!(letter.parked_at().unwrap().to_string(), "2025-05-29T01:43:46.137000Z");
    assert_eq!((letter.consumer_group(), letter.event.is_err()), (None, true));
}

#[test]
fn that_parking_goes_on_is_no_dead_letter_and_resolves_nothing() {
    let mut letters = Letters::default();
    letters.take(record(0, 3, Some(OLD_FORM), &dead_letter()));
    assert_eq!(
        letters.take(record(0, 4, None, &parking_resumed("data-platform-consumer", OccurredAt::now()))),
        None
    );
    assert_eq!((letters.iter().count(), open(&letters)), (1, vec!["0:3".to_owned()]));
}

#[test]
fn a_name_is_partition_and_offset_and_nothing_else() {
    let id = LetterId { partition: 2, offset: 17 };
    assert_eq!(("2:17".parse(), id.to_string().as_str()), (Ok(id), "2:17"));
    for wrong in ["", "2", "2:", ":17", "-2:17", "2:+17", "2:17:1", "two:17", "2:99999999999999999999"] {
        assert_eq!(wrong.parse::<LetterId>(), Err(InvalidLetterId), "{wrong}");
    }
}
