//! # The command
//!
//! `bench checkout`, `bench relay`, `bench consumer`. One thread drives the load, so that the driver's share of the processors is one number.

use crate::consumer::{self, ConsumerMeasure};
use crate::relay::{self, RelayMeasure};
use crate::{Failure, checkout};
use clap::{Args, Parser, Subcommand, ValueEnum};
use engines::guard;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "bench", about = "Benchmarks: ours against a baseline, in turns, in one run")]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Orders: how many a second, how long each takes, and what that costs
    Checkout(Options),
    /// The outbox: how fast a backlog is published
    Relay(RelayOptions),
    /// The consumer: how fast it reads and delivers, and what holds it up
    Consumer(ConsumerOptions),
}

/// Which Kafka the events go to.
#[derive(Args, Clone, Debug)]
pub(crate) struct KafkaOptions {
    /// Real brokers, HOST:PORT,...; without it, a mock cluster in memory
    #[arg(long)]
    pub(crate) bootstrap_servers: Option<String>,
    /// The process of a real broker, which is frozen where a measure wants it, and whose time is told; may be given again
    #[arg(long, requires = "bootstrap_servers")]
    pub(crate) broker_process: Vec<i32>,
}

/// How much to publish, and what of it to measure.
#[derive(Args, Clone, Debug)]
pub(crate) struct RelayOptions {
    /// How often each measure is taken; the table shows the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// The backlog
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rows: u64,
    /// A setting of order-service that is not its default, `RELAY__BACKLOG_RATE=unlimited` for example; may be given again
    #[arg(long, value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) kafka: KafkaOptions,
    /// Only this measure; may be given again for others
    #[arg(long, value_enum)]
    only: Vec<RelayMeasure>,
}

/// How much to deliver, and what of it to measure.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConsumerOptions {
    /// How often each measure is taken; the table shows the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Records in each topic
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) records: u64,
    /// A setting of data-platform-consumer that is not its default, `DELIVERY__IN_FLIGHT_LIMIT=400` for example; may be given
    /// again
    #[arg(long, value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Real brokers, HOST:PORT,...; without it, one in a container of our own, or where no Docker engine answers a mock
    /// cluster in memory
    #[arg(long)]
    pub(crate) bootstrap_servers: Option<String>,
    /// The process of a real broker, whose time is told; may be given again
    #[arg(long, requires = "bootstrap_servers")]
    pub(crate) broker_process: Vec<i32>,
    /// Only this measure; may be given again for others
    #[arg(long, value_enum)]
    only: Vec<ConsumerMeasure>,
}

impl ConsumerOptions {
    /// Whether this measure is wanted.
    pub(crate) fn wants(&self, measure: ConsumerMeasure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl RelayOptions {
    /// Whether this measure is wanted.
    pub(crate) fn wants(&self, measure: RelayMeasure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }
}

/// How long to measure, and what.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often each measure is taken; the table shows the median
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long each side of a measure is looked at in a round, in seconds
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only this measure; may be given again for others
    #[arg(long, value_enum)]
    only: Vec<Measure>,
    /// Only shows that everything runs: one round, one second, few connections. Its figures mean nothing
    #[arg(long)]
    pub(crate) smoke: bool,
    #[command(flatten)]
    pub(crate) kafka: KafkaOptions,
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Measure {
    HotProduct,
    ManyProducts,
    PostP99,
    OverloadGoodput,
    Memory,
    SingleOrder,
}

impl Options {
    /// Whether this measure is wanted.
    pub(crate) fn wants(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }

    /// How long one side of a measure is looked at.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How long it runs before that: connections, prepared statements and caches are not what is measured.
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_millis(if self.smoke { 200 } else { 700 })
    }

    fn settled(mut self) -> Self {
        if self.smoke {
            (self.rounds, self.seconds) = (1, 1);
        }
        self
    }
}

/// The whole program.
pub(crate) fn main() -> ExitCode {
    let benchmark = Arguments::parse().benchmark;
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(benchmark)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // That nobody reads it cannot be told to anybody.
            writeln!(std::io::stderr().lock(), "bench: {failure}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(benchmark: Benchmark) -> Result<(), Failure> {
    let measured = match benchmark {
        Benchmark::Checkout(options) => checkout::run(&options.settled()).await,
        Benchmark::Relay(options) => relay::run(&options).await,
        Benchmark::Consumer(options) => consumer::run(&options).await,
    };
    guard::dismiss().await;
    measured
}
