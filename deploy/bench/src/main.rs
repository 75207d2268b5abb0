//! # Benchmarks
//!
//! Each is a name on the command line, measures ours and a baseline in the same run and in turns, prints a
//! table and writes `target/bench/NAME.json`. In the order in which a run passes them: [`command_line`],
//! [`servers`], [`service`], [`load`], [`pgbench`], [`processor`], [`checkout`], [`relay`],
//! [`consumer`], [`report`].
#![expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run are far below 2^52")]

mod checkout;
mod command_line;
mod connection;
mod consumer;
mod load;
mod pgbench;
mod processor;
mod relay;
mod report;
mod servers;
mod service;

use std::process::ExitCode;

/// Whatever a benchmark fails with; it ends the run, and a person reads it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    engines::guard::enter_if_asked();
    if let Some(ended) = consumer::enter_if_asked() {
        return ended;
    }
    match service::asked_for() {
        Some(arguments) => order_service::command_line::main(arguments),
        None => command_line::main(),
    }
}
