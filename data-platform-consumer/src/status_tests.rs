use service_chassis::alarms::Alarms;
use service_chassis::management::Readiness;
use service_chassis::metrics::Metrics;

use super::*;
use crate::health::{COMPONENTS, Health};

fn status() -> Status {
    let partition = PartitionStatus {
        partition: 3,
        committable: Some(7),
        end: Some(12),
        lag: Some(5),
        unfinished: 4,
        window_used: 5,
        window_limit: 5,
        bytes: 900,
        intake: IntakeStatus::WindowFull,
        on_the_wire: 2,
        waiting_for_retry: 1,
        at_fault: 1,
        standing_for_seconds: Some(61.5),
        ..PartitionStatus::default()
    };
    Status {
        group_id: "group".to_owned(),
        topic: "orders".to_owned(),
        breaker: BreakerState::Open,
        calls_allowed: 1,
        in_flight_limit: 100,
        held_for_seconds: Some(0.5),
        bytes: 900,
        window_bytes: 1_000,
        partitions: vec![partition],
        ..Status::default()
    }
}

#[test]
fn what_keeps_it_from_its_work_stands_before_everything_else() {
    let alarms = Alarms::new();
    alarms.raise("position-lost", "orders[3]", "offset 5 is gone");
    alarms.raise("sink-misconfigured", "", "a wrong password\u{1b}[2J");
    let health = Health::new("orders", Readiness::new(&COMPONENTS), alarms);
    health.board.write(Status { breaker: BreakerState::Closed, partitions: Vec::new(), ..status() });
    let told = health.status().to_string();
    let told: Vec<&str> = told.lines().filter(|line| !line.is_empty()).collect();
    assert!(told[0].starts_with("ALARM position-lost for orders[3] since 20"), "{told:#?}");
    assert!(told[0].ends_with("Z: offset 5 is gone"), "{told:#?}");
    assert!(told[1].starts_with("ALARM sink-misconfigured since 20"), "{told:#?}");
    assert!(told[1].ends_with(r"a wrong password\u{1b}[2J"), "{told:#?}");
    assert_eq!(told[2], "group group, topic orders");
    assert!(told[3].ends_with("1 of 100 allowed (no outage seen)"), "{told:#?}");
    assert!(told[5].starts_with("no partition is owned, so this member reads nothing"), "{told:#?}");

    let rests = Status { rests: true, partitions: Vec::new(), ..status() }.to_string();
    assert!(rests.contains("it joins again within half a minute"), "{rests}");
    assert!(!rests.contains("has not joined yet"), "{rests}");

    let page = serde_json::json!(health.status());
    assert_eq!(page["alarms"][0]["name"], "position-lost", "{page}");
    assert_eq!(serde_json::from_value::<Status>(page).unwrap(), health.status());
}

#[test]
fn it_is_a_table_json_and_metrics_with_the_same_numbers() {
    let status = status();
    let table = status.to_string();
    let row: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
    let row = (row[..11].join(" "), row[11..].join(" "));
    assert_eq!(
        row,
        ("3 7 12 5 4 5/5 2 1 1 62 s".to_owned(), "paused: its window is full".to_owned()),
        "{table}"
    );
    assert!(table.contains("not finished: 900 of 1000"), "{table}");
    assert!(table.contains("1 of 100 allowed (most records fail)"), "{table}");

    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);

    let board = StatusBoard::default();
    board.write(status);
    // As the service registers it: its own registry puts the service's name before each metric's.
    let mut metrics = Metrics::of(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    metrics.own().register_collector(Box::new(board));
    let page = metrics.encode().unwrap();
    for line in [
        "data_platform_consumer_calls_allowed 1",
        "data_platform_consumer_partitions_owned 1",
        r#"data_platform_consumer_lag_records{partition="3"} 5"#,
        r#"data_platform_consumer_window_used_offsets{partition="3"} 5"#,
        r#"data_platform_consumer_window_limit_offsets{partition="3"} 5"#,
        r#"data_platform_consumer_window_full{partition="3"} 1"#,
        "data_platform_consumer_unfinished_bytes 900",
        "data_platform_consumer_window_bytes 1000",
        r#"data_platform_consumer_position_standing_seconds{partition="3"} 61"#,
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line}\n{page}");
    }
}
