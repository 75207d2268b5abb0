//! What the arguments mean.

use clap::Parser;
use shared_messages::dead_letter::{DeadLetter, OriginalRecord, Resolution, ResolutionOutcome};

use DeadLetterCause::{Failing, Rejected, Undecodable};

use super::*;
use crate::delivery::{Record, RecordPosition};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    filters: Filters,
}

const OWN: &str = "platform";

fn letter(
    group: &str,
    cause: DeadLetterCause,
    message: &str,
    parked_at: &str,
) -> Vec<(&'static str, Vec<u8>)> {
    let original = OriginalRecord {
        topic: "order-completed".to_owned(),
        partition: 0,
        offset: 0,
        timestamp: None,
        timestamp_type: None,
    };
    DeadLetter {
        original,
        consumer_group: group.to_owned(),
        cause,
        message: message.to_owned(),
        attempts: 1,
        failing_since: None,
        parked_at: OccurredAt::parse(parked_at).unwrap(),
    }
    .to_pairs()
}

/// 0:0 to 0:3 are ours, of which 0:3 is discarded; 1:0 is another group's, and 1:1 was parked by somebody else's tool.
fn letters() -> Letters {
    let mut letters = Letters::default();
    let mut put = |partition, offset, key: &str, value: Option<&str>, headers: &[(&'static str, Vec<u8>)]| {
        let position = RecordPosition { topic: "order-completed-dlt".into(), partition, offset };
        let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_slice())));
        let value = value.map(str::as_bytes);
        letters.take(Record::new(position, None, Some(key.as_bytes()), value, headers));
    };
    let order = |order: i64| format!(r#"{{"occurredAt":"2025-05-29T01:43","orderId":{order}}}"#);
    put(0, 0, "1", Some(&order(1)), &letter(OWN, Rejected, "No such product", "2026-11-01T10:00"));
    put(0, 1, "2", Some(&order(2)), &letter(OWN, Failing, "503", "2026-11-02T00:00"));
    put(0, 2, "x", Some("{"), &letter(OWN, Undecodable, "no JSON", "2026-11-02T12:00"));
    put(0, 3, "1", Some(&order(1)), &letter(OWN, Rejected, "no such user", "2026-11-03T10:00"));
    let resolved_at = OccurredAt::parse("2026-11-04T10:00").unwrap();
    let resolution = Resolution { outcome: ResolutionOutcome::Discarded, resolved_offset: 3, resolved_at };
    put(0, 4, "1", None, &resolution.to_pairs());
    put(1, 0, "7", Some(&order(7)), &letter("billing", Rejected, "no", "2026-11-01T10:00"));
    put(1, 1, "8", Some(&order(8)), &[]);
    letters
}

fn chosen(arguments: &[&str]) -> Result<(Vec<String>, Vec<String>), DeadLettersError> {
    let all = ["test"].iter().chain(arguments);
    let Arguments { named, filters } = Arguments::try_parse_from(all).unwrap();
    let letters = letters();
    let Chosen { open, resolved } = named.choose(&letters, &filters, OWN)?;
    let names = |letters: Vec<&Letter>| letters.iter().map(|letter| letter.id.to_string()).collect();
    Ok((names(open), names(resolved)))
}

fn open(arguments: &[&str]) -> Vec<String> {
    chosen(arguments).unwrap().0
}

#[test]
fn all_means_the_open_ones_of_ones_own_group() {
    assert_eq!(chosen(&["--all"]).unwrap(), (vec!["0:0".into(), "0:1".into(), "0:2".into()], Vec::new()));
    assert_eq!(open(&["--all", "--group", "billing"]), ["1:0"]);
    assert_eq!(open(&["--all", "--any-group"]), ["0:0", "0:1", "0:2", "1:0", "1:1"]);
}

#[test]
fn every_filter_lets_pass_what_it_says() {
    for (filter, expected) in [
        (&["--partition", "1"][..], &[][..]),
        (&["--partition", "1", "--any-group"], &["1:0", "1:1"]),
        (&["--cause", "failing", "--cause", "undecodable"], &["0:1", "0:2"]),
        (&["--cause", "unknown", "--any-group"], &["1:1"]),
        (&["--order", "1", "--order", "2"], &["0:0", "0:1"]),
        (&["--key", "x"], &["0:2"]),
        (&["--since", "2026-11-02T00:00Z"], &["0:1", "0:2"]),
        (&["--until", "2026-11-02T00:00Z"], &["0:0"]),
        (&["--since", "2026-11-02T09:00+09:00", "--until", "2026-11-02T12:00:00Z"], &["0:1"]),
        (&["--contains", "no SUCH"], &["0:0"]),
        (&["--cause", "rejected", "--order", "2"], &[]),
    ] {
        let arguments: Vec<&str> = ["--all"].iter().chain(filter).copied().collect();
        assert_eq!(open(&arguments), expected, "{filter:?}");
    }
}

#[test]
fn what_is_named_and_resolved_is_told_apart() {
    assert_eq!(chosen(&["0:3", "0:1"]).unwrap(), (vec!["0:1".into()], vec!["0:3".into()]));
}

#[test]
fn a_name_that_means_nothing_or_what_is_another_groups_stops_everything() {
    assert!(matches!(chosen(&["0:1", "0:9"]), Err(DeadLettersError::Unknown { id }) if id.offset == 9));
    assert!(matches!(chosen(&["0:4"]), Err(DeadLettersError::Unknown { .. })), "a resolution has no name");
    let error = chosen(&["0:1", "1:0"]).unwrap_err();
    assert!(
        matches!(&error, DeadLettersError::OfAnotherGroup { group, .. } if group == "billing"),
        "{error}"
    );
    assert_eq!(open(&["1:0", "--any-group"]), ["1:0"]);
}

#[test]
fn nothing_is_meant_by_saying_nothing() {
    for wrong in [
        &["test"][..],
        &["test", "0:1", "--all"],
        &["test", "17"],
        &["test", "--all", "--group", "a", "--any-group"],
        &["test", "--all", "--since", "yesterday"],
        &["test", "--all", "--since", "2026-11-02"],
        &["test", "--all", "--since", "2026-11-02T00:00"],
        &["test", "--all", "--cause", "boredom"],
    ] {
        assert!(Arguments::try_parse_from(wrong).is_err(), "{wrong:?}");
    }
}
