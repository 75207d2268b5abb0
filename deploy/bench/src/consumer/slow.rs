//! # `slow_3s`, `slow_50ms`, `slow_5ms`
//!
//! A slow platform is kept as busy as the limit, or the number of keys, allows: calls a second against that number, divided by
//! what a call took.

use super::member::rate;
use super::platform::{Goal, Manners};
use super::records::Topic;
use super::{ConsumerBench, ConsumerMeasure, FEW_KEYS, row};
use crate::Failure;
use crate::report::{Row, Series, figure, say};
use std::time::Duration;

/// As the setting `delivery.in_flight_limit` has it.
const LIMIT: u64 = 100;
/// More than there are keys.
const WIDE_LIMIT: u64 = 400;

struct Slow<'t> {
    measure: &'static str,
    topic: &'t Topic,
    takes: Duration,
    records: u64,
    limit: u64,
    at_a_time: u64,
    note: &'static str,
}

/// Those that are wanted.
pub(super) async fn measure(bench: &ConsumerBench<'_>) -> Result<Vec<Row>, Failure> {
    let (unique, few) = (&bench.topics.unique_6, &bench.topics.few_6);
    let of_unique = |measure, millis, records| Slow {
        measure,
        topic: unique,
        takes: Duration::from_millis(millis),
        records: unique.records.min(records),
        limit: LIMIT,
        at_a_time: LIMIT,
        note: "unique keys, calls that take so long, against the limit (100) / that time",
    };
    let few_keys = Slow {
        topic: few,
        records: few.records.min(8_000),
        limit: WIDE_LIMIT,
        at_a_time: FEW_KEYS,
        note: "100 keys and a limit of 400, against the keys / that time",
        ..of_unique("slow_50ms_100_keys", 50, 0)
    };
    let all = [
        (ConsumerMeasure::Slow3Seconds, of_unique("slow_3s", 3_000, 400)),
        (ConsumerMeasure::Slow50Millis, of_unique("slow_50ms", 50, 10_000)),
        (ConsumerMeasure::Slow50Millis, few_keys),
        (ConsumerMeasure::Slow5Millis, of_unique("slow_5ms", 5, 50_000)),
    ];
    let mut rows = Vec::new();
    for (_, slow) in all.iter().filter(|(measure, _)| bench.options.wants(*measure)) {
        rows.push(slow.measure(bench).await?);
    }
    Ok(rows)
}

impl Slow<'_> {
    async fn measure(&self, bench: &ConsumerBench<'_>) -> Result<Row, Failure> {
        say(&format!("\n{}: {} records", self.measure, self.records))?;
        let [mut ours, mut ideal] = [(); 2].map(|()| Series::default());
        let limit = self.limit.to_string();
        for round in 1..=bench.options.rounds {
            let goal = Goal::Taken(self.records);
            let manners = Manners { takes: self.takes, goal, ..bench.manners() };
            let changes = [("DELIVERY__IN_FLIGHT_LIMIT", limit.as_str())];
            let found = bench.consume(self.topic, &manners, &changes)?.finished().await?;
            let rate = rate(self.records, &found);
            say(&format!(
                "  round {round}: {} records/s, a call took {} ms; {}",
                figure(rate),
                figure(found.call_seconds * 1e3),
                found.usage()
            ))?;
            ours.push(rate);
            ideal.push(self.at_a_time as f64 / found.call_seconds);
        }
        Ok(row(self.measure, ours, ideal, "records/s", self.note))
    }
}
