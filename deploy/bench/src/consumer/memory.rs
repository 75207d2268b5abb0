//! # `memory`
//!
//! What 10,000 records cost that are all on their way at a time, against a member that has nothing to do. They are of one
//! partition, whose window they fill: of six, each would read its own window into memory besides.

use super::platform::{Goal, Manners};
use super::{ConsumerBench, row};
use crate::Failure;
use crate::processor::{Resident, megabytes, with_most_resident};
use crate::report::{Row, Series, figure, say};
use std::time::Duration;

const IN_FLIGHT: u64 = 10_000;
/// Longer than the measure.
const TAKES: Duration = Duration::from_mins(10);
/// Until a member has joined and its client has settled.
const SETTLE: Duration = Duration::from_secs(4);

pub(super) async fn measure(bench: &ConsumerBench<'_>) -> Result<Row, Failure> {
    let topic = &bench.topics.unique_1;
    let in_flight = IN_FLIGHT.min(topic.records);
    say(&format!("\nmemory: {in_flight} records in flight"))?;
    let [mut ours, mut idle] = [(); 2].map(|()| Series::default());
    let limit = in_flight.to_string();
    for round in 1..=bench.options.rounds {
        let nothing = bench.consume(&bench.topics.empty, &bench.manners(), &[])?;
        let ((), at_rest) = with_most_resident(nothing.id(), tokio::time::sleep(SETTLE)).await;
        nothing.kill().await;
        let manners = Manners { takes: TAKES, goal: Goal::UnderWay(in_flight), ..bench.manners() };
        let changes = [("DELIVERY__IN_FLIGHT_LIMIT", limit.as_str())];
        let mut busy = bench.consume(topic, &manners, &changes)?;
        let busy_id = busy.id();
        let settled = async {
            let found = busy.found().await;
            tokio::time::sleep(SETTLE).await;
            found
        };
        let (found, highest) = with_most_resident(busy_id, settled).await;
        found?;
        busy.kill().await;
        say(&format!("  round {round}: {}; idle {}", shown(highest), shown(at_rest)))?;
        ours.push(megabytes(highest.all));
        idle.push(megabytes(at_rest.all));
    }
    let note = "resident with 10,000 records in flight, against idle";
    Ok(row("memory", ours, idle, "MB", note))
}

fn shown(resident: Resident) -> String {
    format!(
        "{} MB, of which {} are no file's",
        figure(megabytes(resident.all)),
        figure(megabytes(resident.anonymous))
    )
}
