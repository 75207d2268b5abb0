//! # The benchmark `relay`
//!
//! How fast a backlog is published, and what that costs: what the README explains, measure by measure. Ours is
//! order-service as a process of its own, which finds rows in its outbox; nobody orders meanwhile.

mod backlog;
mod drain;
mod raw;

use crate::Failure;
use crate::command_line::RelayOptions;
use crate::report::{self, Row, say};
use crate::servers::Servers;

const NAME: &str = "relay";

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum RelayMeasure {
    DrainVsRaw,
    DrainMemory,
    HeldHorizonRate,
}

/// Everything that a measure needs.
pub(crate) struct RelayBench {
    servers: Servers,
    options: RelayOptions,
}

/// Measures what the options name and publishes it.
pub(crate) async fn run(options: &RelayOptions) -> Result<(), Failure> {
    let bench = RelayBench { servers: Servers::start().await?, options: options.clone() };
    say(&format!(
        "relay: {} rounds, a backlog of {} rows; PostgreSQL {}, fsync on; broker: librdkafka's mock cluster in a process of \
         its own",
        options.rounds,
        options.rows,
        bench.servers.postgres.version()
    ))?;
    if cfg!(debug_assertions) {
        say("built without optimisation: its figures mean nothing (cargo run --release -p bench)")?;
    }
    let measured = bench.measure().await;
    bench.servers.stop().await;
    report::publish(NAME, &measured?)
}

impl RelayBench {
    async fn measure(&self) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        if self.options.wants(RelayMeasure::DrainVsRaw) || self.options.wants(RelayMeasure::DrainMemory) {
            rows.extend(drain::measure(self).await?);
        }
        if self.options.wants(RelayMeasure::HeldHorizonRate) {
            rows.push(drain::measure_held_horizon(self).await?);
        }
        Ok(rows)
    }
}
