use super::*;

fn at(text: &str) -> OccurredAt {
    OccurredAt::parse(text).unwrap()
}

fn place(partition: i32, offset: i64) -> Place {
    Place { partition, offset }
}

fn row(key: &str, place: Place, deliveries: i64) -> AuditedRow {
    AuditedRow { key: key.to_owned(), order_id: 1, topic: "orders".to_owned(), place, deliveries }
}

/// Partition 0 holds 10 to 99 and is committed up to 50; partition 1 holds 0 to 9, and nothing is committed.
fn comparison() -> Comparison {
    let window = Window { from: at("2026-11-29T00:00"), to: at("2026-11-30T00:00") };
    let partitions = vec![
        Partition { low: 10, high: 100, committed: Some(50) },
        Partition { low: 0, high: 10, committed: None },
    ];
    Comparison::new("orders", window, partitions, 2)
}

fn keys(kind: &crate::audit::report::Kind) -> Vec<&str> {
    kind.first().iter().map(|told| told.key.as_deref().unwrap_or("-")).collect()
}

#[test]
fn what_is_on_both_sides_is_delivered_and_repeats_are_counted() {
    let mut comparison = comparison();
    comparison.event(place(0, 20), "a".to_owned(), 1);
    comparison.event(place(0, 21), "b".to_owned(), 2);
    comparison.event(place(0, 22), "b".to_owned(), 2);
    comparison.row(row("a", place(0, 20), 1));
    comparison.row(row("b", place(0, 21), 4));
    let report = comparison.report();
    assert!(report.is_kept());
    assert_eq!((report.counts.events, report.counts.delivered, report.counts.deliveries_repeated), (2, 2, 3));
    assert_eq!(keys(&report.findings.repeated), ["b"]);
    assert_eq!(report.findings.repeated.first()[0].deliveries, Some(4));
}

#[test]
fn what_is_finished_and_nowhere_is_missing_and_what_is_parked_or_not_committed_is_told_apart() {
    let mut comparison = comparison();
    comparison.parked(place(0, 30));
    comparison.parked(place(0, 31));
    comparison.event(place(0, 49), "missing".to_owned(), 1);
    comparison.event(place(0, 50), "pending".to_owned(), 2);
    comparison.event(place(1, 0), "of a partition without a position".to_owned(), 3);
    comparison.event(place(0, 30), "parked".to_owned(), 4);
    comparison.event(place(0, 31), "replayed".to_owned(), 5);
    comparison.row(row("replayed", place(0, 31), 1));
    let report = comparison.report();
    assert!(!report.is_kept());
    assert_eq!(keys(&report.findings.missing), ["missing"]);
    assert_eq!(keys(&report.findings.pending), ["pending", "of a partition without a position"]);
    assert_eq!(keys(&report.findings.parked), ["parked"]);
    assert_eq!(report.counts.delivered, 1);
}

#[test]
fn an_event_of_two_records_is_missing_if_one_of_them_is_finished_and_parked_only_if_none_is() {
    for (records, missing) in [([20, 60], 1), ([60, 20], 1), ([30, 60], 0), ([30, 20], 1)] {
        let mut comparison = comparison();
        comparison.parked(place(0, 30));
        for offset in records {
            comparison.event(place(0, offset), "a".to_owned(), 1);
        }
        assert_eq!(comparison.report().findings.missing.count(), missing, "{records:?}");
    }
}

#[test]
fn a_row_without_a_record_is_unexpected_unless_its_record_is_late_gone_or_of_another_topic() {
    let mut comparison = comparison();
    comparison.row(row("stranger", place(0, 60), 1));
    comparison.row(row("of no partition", place(7, 0), 1));
    comparison.row(row("late", place(0, 100), 1));
    comparison.row(row("gone", place(0, 9), 1));
    comparison.row(AuditedRow { topic: "others".to_owned(), ..row("other", place(0, 60), 1) });
    let report = comparison.report();
    assert_eq!(keys(&report.findings.unexpected), ["stranger", "of no partition"]);
    assert_eq!(keys(&report.findings.beyond_retention), ["gone"]);
    assert_eq!((report.counts.rows_of_later_records, report.counts.rows_of_other_topics), (1, 1));
    assert!(!report.is_kept());
}

#[test]
fn a_record_that_cannot_be_read_is_missing_unless_it_is_parked_or_holds_its_partition() {
    let mut comparison = comparison();
    comparison.parked(place(0, 30));
    for offset in [20, 30, 50] {
        comparison.unreadable(place(0, offset), "it is no JSON".to_owned());
    }
    let report = comparison.report();
    let found = &report.findings;
    assert_eq!((found.missing.count(), found.parked.count(), found.pending.count()), (1, 1, 1));
    assert!(report.to_string().contains("partition 0 offset 20: it is no JSON"), "{report}");
}

#[test]
fn findings_beyond_the_limit_are_counted() {
    let mut comparison = comparison();
    for offset in 20..25 {
        comparison.event(place(0, offset), offset.to_string(), offset);
    }
    let report = comparison.report();
    assert_eq!((report.findings.missing.count(), keys(&report.findings.missing)), (5, vec!["20", "21"]));
    assert!(report.to_string().contains("and 3 more"), "{report}");
    assert!(report.to_string().contains("BROKEN"), "{report}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["missing"]["count"], &json["kept"]), (&5.into(), &false.into()));
}

#[test]
fn a_window_has_its_beginning_and_not_its_end() {
    let window = Window { from: at("2026-11-29T00:00"), to: at("2026-11-30T00:00") };
    assert!(window.contains(at("2026-11-29T00:00")) && window.contains(at("2026-11-29T23:59:59.999999999")));
    assert!(
        !window.contains(at("2026-11-30T00:00")) && !window.contains(at("2026-11-28T23:59:59.999999999"))
    );
}
