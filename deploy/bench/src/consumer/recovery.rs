//! # `recovery`
//!
//! The platform is away from the first call on, and comes back: how long it takes from then until the lag is gone, against the
//! lag divided by the rate without an outage. Longer is the wait until the platform is asked again, and the gentle start.

use super::member::rate;
use super::platform::{Goal, Manners};
use super::{ConsumerBench, row};
use crate::Failure;
use crate::report::{Row, Series, figure, say};
use std::time::Duration;

const TAKES: Duration = Duration::from_millis(50);
const AWAY: Duration = Duration::from_secs(10);
const RECORDS: u64 = 20_000;

pub(super) async fn measure(bench: &ConsumerBench<'_>) -> Result<Row, Failure> {
    let topic = &bench.topics.unique_6;
    let lag = RECORDS.min(topic.records);
    say(&format!("\nrecovery: a lag of {lag} records, the platform away for {} s", AWAY.as_secs()))?;
    let [mut ours, mut ideal] = [(); 2].map(|()| Series::default());
    for round in 1..=bench.options.rounds {
        let manners = Manners { takes: TAKES, goal: Goal::Taken(lag), ..bench.manners() };
        let without = bench.consume(topic, &manners, &[])?.finished().await?;
        let manners = Manners { away: AWAY, ..manners };
        let found = bench.consume(topic, &manners, &[])?.finished().await?;
        let since_back = found.seconds - AWAY.as_secs_f64();
        say(&format!(
            "  round {round}: {} s, of which {} s until it was asked again; without an outage {} records/s; {}",
            figure(since_back),
            figure(found.seconds_until_asked - AWAY.as_secs_f64()),
            figure(rate(lag, &without)),
            found.usage()
        ))?;
        ours.push(since_back);
        ideal.push(without.seconds);
    }
    let note = "from the platform's return until the lag is gone, against lag / rate";
    Ok(row("recovery", ours, ideal, "s", note))
}
