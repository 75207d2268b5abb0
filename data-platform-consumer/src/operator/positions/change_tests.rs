use super::super::Members;
use super::*;

fn position(partition: i32, committed: Option<i64>, oldest: i64, end: i64) -> Position {
    Position { partition, committed, oldest, end }
}

fn look(positions: &[Position]) -> Look {
    Look {
        group: "group".to_owned(),
        topic: "orders".to_owned(),
        members: Members::Known(Vec::new()),
        positions: positions.to_vec(),
    }
}

fn effects(committed: Option<i64>, to: i64) -> Vec<Effect> {
    let change = Change { from: position(0, committed, 20, 90), to, after_the_last_record: false };
    change.effects()
}

#[test]
fn a_target_is_a_name_or_an_offset_or_a_time_with_its_zone() {
    let time = |text: &str| Target::Time(DateTime::parse_from_rfc3339(text).unwrap().to_utc());
    for (text, target) in [
        ("earliest", Target::Earliest),
        ("latest", Target::Latest),
        ("0", Target::Offset(0)),
        ("9223372036854775807", Target::Offset(i64::MAX)),
        ("2026-11-29T08:00:00Z", time("2026-11-29T08:00:00Z")),
        ("2026-11-29T17:00:00+09:00", time("2026-11-29T08:00:00Z")),
        ("2026-11-29T08:00Z", time("2026-11-29T08:00:00Z")),
    ] {
        assert_eq!(text.parse::<Target>().unwrap(), target);
    }
    for wrong in [
        "",
        "Earliest",
        "end",
        "-1",
        "+1",
        "9223372036854775808",
        "2026-11-29T08:00:00",
        "1969-12-31T23:59:59Z",
    ] {
        assert!(wrong.parse::<Target>().is_err(), "{wrong}");
    }
}

#[test]
fn a_time_between_two_milliseconds_is_the_later_one() {
    let millis = |text: &str| text.parse::<Target>().unwrap().millis();
    assert_eq!(millis("1970-01-01T00:00:01.500Z"), Some(1500));
    assert_eq!(millis("1970-01-01T00:00:01.500001Z"), Some(1501));
    assert_eq!(millis("latest"), None);
}

#[test]
fn what_is_skipped_and_what_is_repeated_is_what_lies_between_the_two_positions() {
    assert_eq!(effects(Some(50), 50), []);
    assert_eq!(effects(Some(50), 90), [Effect::Skips(50..90)]);
    assert_eq!(effects(Some(50), 20), [Effect::Repeats(20..50)]);
}

#[test]
fn without_a_position_everything_before_the_new_one_is_skipped() {
    assert_eq!(effects(None, 20), []);
    assert_eq!(effects(None, 50), [Effect::Skips(20..50)]);
}

#[test]
fn what_is_gone_is_told_whatever_is_set() {
    assert_eq!(effects(Some(5), 20), [Effect::Gone(5..20)]);
    assert_eq!(effects(Some(5), 50), [Effect::Gone(5..20), Effect::Skips(20..50)]);
}

#[test]
fn a_position_beyond_the_end_says_nothing_of_the_records_that_are_there() {
    assert_eq!(effects(Some(1000), 50), [Effect::MaySkip(20..50), Effect::MayRepeat(50..90)]);
    assert_eq!(effects(Some(1000), 20), [Effect::MayRepeat(20..90)]);
    assert_eq!(effects(Some(1000), 90), [Effect::MaySkip(20..90)]);
}

#[test]
fn only_the_positions_that_are_meant_are_changed() {
    let look = look(&[
        position(0, Some(1), 5, 9),
        position(1, Some(5), 5, 9),
        position(2, None, 0, 9),
        position(3, Some(10), 0, 9),
    ]);
    let changed = |selection: &Selection| {
        let changes = plan(&look, selection, Target::Earliest, &BTreeMap::new()).unwrap();
        changes.iter().map(|change| (change.from.partition, change.to)).collect::<Vec<_>>()
    };
    assert_eq!(changed(&Selection::Lost), [(0, 5), (3, 0)]);
    assert_eq!(changed(&Selection::All), [(0, 5), (1, 5), (2, 0), (3, 0)]);
    assert_eq!(changed(&Selection::Partitions([2, 1].into())), [(1, 5), (2, 0)]);
    let error = plan(&look, &Selection::Partitions([1, 4].into()), Target::Earliest, &BTreeMap::new());
    let (topic, partition, last) = ("orders".to_owned(), 4, 3);
    assert_eq!(error, Err(PlanError::NoSuchPartition { topic, partition, last }));
}

#[test]
fn an_offset_that_is_not_on_the_broker_is_refused_for_all() {
    let look = look(&[position(0, None, 0, 9), position(1, None, 5, 9)]);
    let to = |offset| plan(&look, &Selection::All, Target::Offset(offset), &BTreeMap::new());
    assert!(to(5).is_ok() && to(9).is_ok());
    for offset in [4, 10] {
        assert!(matches!(to(offset), Err(PlanError::NotOnTheBroker { .. })), "{offset}");
    }
}

#[test]
fn a_time_is_the_first_record_that_is_not_earlier_or_the_end() {
    let look = look(&[position(0, None, 0, 9), position(1, None, 5, 9), position(2, None, 5, 9)]);
    let times = [(0, 3), (1, 4)].into();
    let target = "2026-11-29T08:00:00Z".parse().unwrap();
    let changes = plan(&look, &Selection::All, target, &times).unwrap();
    let changes: Vec<_> = changes.iter().map(|change| (change.to, change.after_the_last_record)).collect();
    assert_eq!(changes, [(3, false), (5, false), (9, true)]);
}
