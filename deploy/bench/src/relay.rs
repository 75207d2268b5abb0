//! # The benchmark `relay`
//!
//! How fast a backlog is published, and what that costs: what the README explains, measure by measure. Ours is
//! order-service as a process of its own, which finds rows in its outbox.

mod backlog;
mod drain;
mod orders;
mod raw;
mod readable;

use crate::Failure;
use crate::command_line::RelayOptions;
use crate::processor::Watched;
use crate::report::{self, Row, say};
use crate::servers::Servers;
use crate::service::Service;

const NAME: &str = "relay";

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum RelayMeasure {
    DrainVsRaw,
    DrainMemory,
    HeldHorizonRate,
    OrderP99WhileDraining,
    CommitToReadable,
}

/// Everything that a measure needs.
pub(crate) struct RelayBench {
    servers: Servers,
    options: RelayOptions,
}

/// Measures what the options name and publishes it.
pub(crate) async fn run(options: &RelayOptions) -> Result<(), Failure> {
    let bench = RelayBench { servers: Servers::start(&options.kafka).await?, options: options.clone() };
    say(&format!(
        "relay: {} rounds, a backlog of {} rows; PostgreSQL {}, fsync on; broker: {}",
        options.rounds,
        options.rows,
        bench.servers.postgres.version(),
        bench.servers.broker.name()
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
        if self.options.wants(RelayMeasure::OrderP99WhileDraining) {
            rows.push(orders::measure(self).await?);
        }
        if self.options.wants(RelayMeasure::CommitToReadable) {
            rows.extend(readable::measure(self).await?);
        }
        Ok(rows)
    }

    async fn serve(&self, database_url: &str) -> Result<Service, Failure> {
        let changes: Vec<_> =
            self.options.set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Service::start(database_url, &self.servers.broker.bootstrap_servers(), &changes).await
    }

    fn watched(&self, service: &Service) -> Watched {
        let (postgres, brokers) = (self.servers.postgres.id(), self.servers.broker.ids());
        Watched { service: Some(service.id()), postgres, brokers }
    }
}
