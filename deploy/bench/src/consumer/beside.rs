//! # `beside_slow_key`, `beside_poison`
//!
//! One bad record must hold up nobody else: how fast all others are taken while calls for one key take 30 s, or while one
//! record always fails, against neither. It stands at the very beginning of its partition.
//!
//! Beside it a partition runs ahead by its window (`delivery.window`), then waits: with six partitions the other five take over
//! its share, and with one, as many records are measured as fit into the window.

use super::member::rate;
use super::platform::{Goal, Manners};
use super::records::Topic;
use super::{ConsumerBench, ConsumerMeasure, row};
use crate::Failure;
use crate::report::{Row, Series, figure, say};
use std::time::Duration;

/// The first of its partition in every topic.
const BAD_ORDER: i64 = 1;
const SLOW: Duration = Duration::from_secs(30);
/// Fewer than five of six partitions hold.
const RECORDS: u64 = 80_000;
/// Fewer than the window.
const RECORDS_OF_ONE: u64 = 9_000;

/// Both, and the slow key in a topic of one partition.
pub(super) async fn measure(bench: &ConsumerBench<'_>) -> Result<Vec<Row>, Failure> {
    let six = &bench.topics.unique_6;
    let takes = Duration::from_millis(10);
    let manners = Manners { takes, goal: Goal::Taken(RECORDS.min(six.records / 3)), ..bench.manners() };
    let slow = Some((BAD_ORDER, SLOW));
    say("\nbeside_slow_key, beside_poison")?;
    let [mut neither, mut beside_slow, mut beside_poison] = [(); 3].map(|()| Series::default());
    let wants_slow = bench.options.wants(ConsumerMeasure::BesideSlowKey);
    for round in 1..=bench.options.rounds {
        neither.push(deliver(bench, six, &manners, "beside neither", round).await?);
        if wants_slow {
            let manners = Manners { slow, ..manners.clone() };
            beside_slow.push(deliver(bench, six, &manners, "beside a slow key", round).await?);
        }
        if bench.options.wants(ConsumerMeasure::BesidePoison) {
            let manners = Manners { refuses: Some(BAD_ORDER), ..manners.clone() };
            beside_poison.push(deliver(bench, six, &manners, "beside a poison record", round).await?);
        }
    }
    let mut rows = Vec::new();
    if wants_slow {
        let note = "other keys beside one whose calls take 30 s, against neither";
        rows.push(row("beside_slow_key", beside_slow, neither.clone(), "records/s", note));
        rows.push(measure_one_partition(bench, slow).await?);
    }
    if bench.options.wants(ConsumerMeasure::BesidePoison) {
        let note = "other keys beside a record that always fails, against neither";
        rows.push(row("beside_poison", beside_poison, neither, "records/s", note));
    }
    Ok(rows)
}

async fn measure_one_partition(
    bench: &ConsumerBench<'_>,
    slow: Option<(i64, Duration)>,
) -> Result<Row, Failure> {
    let one = &bench.topics.unique_1;
    let takes = Duration::from_millis(50);
    let manners =
        Manners { takes, goal: Goal::Taken(RECORDS_OF_ONE.min(one.records / 2)), ..bench.manners() };
    let [mut neither, mut beside_slow] = [(); 2].map(|()| Series::default());
    for round in 1..=bench.options.rounds {
        neither.push(deliver(bench, one, &manners, "one partition, beside neither", round).await?);
        let manners = Manners { slow, ..manners.clone() };
        beside_slow.push(deliver(bench, one, &manners, "one partition, beside a slow key", round).await?);
    }
    let note = "the same in its own partition, up to the window";
    Ok(row("beside_slow_key_1_partition", beside_slow, neither, "records/s", note))
}

async fn deliver(
    bench: &ConsumerBench<'_>,
    topic: &Topic,
    manners: &Manners,
    how: &str,
    round: u32,
) -> Result<f64, Failure> {
    let found = bench.consume(topic, manners, &[])?.finished().await?;
    let Goal::Taken(records) = manners.goal else {
        return Err("a rate needs records that were taken".into());
    };
    let rate = rate(records, &found);
    say(&format!("  round {round}: {how}: {} records/s; {}", figure(rate), found.usage()))?;
    Ok(rate)
}
