//! The page for other teams says what is really published.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use shared_messages::dead_letter::{
    DeadLetter, DeadLetterCause, LONGEST_MESSAGE_BYTES, OriginalRecord, PARKING, Resolution,
    ResolutionOutcome, TimestampType,
};
use shared_messages::headers::{EventHeaders, EventType, TraceContext};
use shared_messages::{OccurredAt, OrderCompletedMessage, topics};

const PAGE: &str = include_str!("../README.md");
const GOLDEN: &str = include_str!("../golden/order-completed.v1.json");
const SCHEMA: &str = include_str!("../schema/order-completed.v1.schema.json");

/// What stands between ```` ```language ```` and the next fence.
fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// The cells of the table whose first heading this is, without their code marks.
fn table(first_heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = PAGE.split_once(&format!("\n| {first_heading} |")).unwrap();
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

#[test]
fn the_example_is_the_golden_file() {
    // No text in it holds a blank, so taking them all out only undoes the page's line breaks.
    assert_eq!(block("json").split_whitespace().collect::<String>(), GOLDEN);
}

#[test]
fn every_field_is_explained_and_no_other() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let names = |properties: &serde_json::Value, prefix: &str| -> Vec<String> {
        properties.as_object().unwrap().keys().map(|name| format!("{prefix}{name}")).collect()
    };
    let published: BTreeSet<String> = names(&schema["properties"], "")
        .into_iter()
        .chain(names(&schema["$defs"]["OrderLine"]["properties"], "lines[]."))
        .collect();
    let explained = table("field");
    let explained_names: BTreeSet<String> = explained.iter().map(|row| row[0].clone()).collect();
    assert_eq!(explained_names, published);
    assert_eq!(explained.len(), published.len(), "none is explained twice");
}

#[test]
fn what_is_never_absent_is_what_the_schema_requires() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let required =
        |list: &serde_json::Value, name: &str| list.as_array().unwrap().iter().any(|one| one == name);
    for row in table("field") {
        let (name, absent) = (&row[0], &row[3]);
        let never = match name.strip_prefix("lines[].") {
            Some(of_line) => required(&schema["$defs"]["OrderLine"]["required"], of_line),
            None => required(&schema["required"], name),
        };
        assert_eq!(absent == "never", never, "{name}");
    }
}

#[test]
fn the_headers_and_their_examples_are_those_that_the_code_writes() {
    let event = OrderCompletedMessage::from_json(GOLDEN.as_bytes()).unwrap();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = EventHeaders {
        event_id: event.details.unwrap().event_id,
        event_type: EventType::OrderCompletedV1,
        source: "/order-service".to_owned(),
        time: OccurredAt::parse("2025-05-29T01:43:46.137371Z").unwrap(),
        subject: topics::record_key(event.order_id),
        trace: Some(TraceContext::new(traceparent, Some("vendor=1".to_owned())).unwrap()),
    };
    let written: Vec<(String, String)> =
        headers.to_pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let explained: Vec<(String, String)> =
        table("header").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(explained, written);
}

/// Name, encoding and example, as the page tells them.
fn told(name: &str, value: &[u8]) -> (String, String, String) {
    let (encoding, example) = match name {
        "kafka_dlt-original-partition" => {
            ("4 bytes, big-endian", i32::from_be_bytes(value.try_into().unwrap()).to_string())
        }
        "kafka_dlt-original-offset" | "kafka_dlt-original-timestamp" => {
            ("8 bytes, big-endian", i64::from_be_bytes(value.try_into().unwrap()).to_string())
        }
        _ => ("text", String::from_utf8(value.to_vec()).unwrap()),
    };
    (name.to_owned(), encoding.to_owned(), example)
}

#[test]
fn the_headers_of_a_dead_letter_are_those_that_the_code_writes() {
    let letter = DeadLetter {
        original: OriginalRecord {
            topic: topics::ORDER_COMPLETED.to_owned(),
            partition: 2,
            offset: 4711,
            timestamp: Some(1_748_483_026_137),
            timestamp_type: Some(TimestampType::CreateTime),
        },
        consumer_group: "data-platform-consumer".to_owned(),
        cause: DeadLetterCause::Rejected,
        message: "422: no such product".to_owned(),
        attempts: 3,
        failing_since: Some(OccurredAt::parse("2025-05-29T01:43:47Z").unwrap()),
        parked_at: OccurredAt::parse("2025-05-29T01:44:02.5Z").unwrap(),
    };
    let written: Vec<_> = letter.to_pairs().iter().map(|(name, value)| told(name, value)).collect();
    let explained: Vec<_> = table("dead-letter header")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
        .collect();
    assert_eq!(explained, written);
    for cause in DeadLetterCause::ALL {
        assert!(PAGE.contains(&format!("`{cause}`")), "{cause}");
    }
    assert!(PAGE.contains(&format!("cut to {LONGEST_MESSAGE_BYTES} bytes")));
    assert!(PAGE.contains(&format!("`{}`", topics::dead_letter_topic(topics::ORDER_COMPLETED))));
}

#[test]
fn the_headers_of_a_resolution_are_those_that_the_code_writes() {
    let resolution = Resolution {
        outcome: ResolutionOutcome::Replayed,
        resolved_offset: 17,
        resolved_at: OccurredAt::parse("2025-05-30T09:00:00Z").unwrap(),
    };
    let written: Vec<_> = resolution.to_pairs().iter().map(|(name, value)| told(name, value)).collect();
    let explained: Vec<_> = table("resolution header")
        .into_iter()
        .map(|row| (row[0].clone(), "text".to_owned(), row[1].clone()))
        .collect();
    assert_eq!(explained, written);
    assert!(PAGE.contains(&format!("`{}`", ResolutionOutcome::Discarded)));
    assert!(PAGE.contains(&format!("`{PARKING}`")));
}

#[test]
fn every_file_that_the_page_links_to_is_there() {
    let links: Vec<&str> = PAGE.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0).collect();
    assert!(links.len() >= 6, "{links:?}");
    for link in links {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
}
