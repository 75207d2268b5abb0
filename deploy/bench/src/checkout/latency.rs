//! # `post_p99_relay_on`, `post_p99_broker_frozen`
//!
//! The buyer never waits for Kafka: the p99 of POST at half the peak, by a schedule, must not tell whether the relay
//! publishes, nor whether the broker answers.

use super::{BROKER_FROZEN, Bench, RELAY_OFF, USUAL};
use crate::Failure;
use crate::load::{Pace, Products};
use crate::report::{Row, Series, figure, say, shown_usage};

/// Enough that an order finds a free one.
const CONNECTIONS: usize = 256;
/// At which the peak is taken.
const PEAK_CONNECTIONS: usize = 512;

/// Both, and the errors that buyers saw while the broker was frozen.
pub(super) async fn measure(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let peak = bench.load(USUAL, bench.plan(Products::Hot, Pace::Closed, PEAK_CONNECTIONS)).await?.rate();
    let rate = peak / 2.0;
    say(&format!(
        "\npost_p99: one product, {} orders/s by a schedule, half of {}",
        figure(rate),
        figure(peak)
    ))?;
    let settings = [("relay off", RELAY_OFF), ("relay on", USUAL), ("broker frozen", BROKER_FROZEN)];
    let (mut p99, mut errors) = ([(); 3].map(|()| Series::default()), [(); 3].map(|()| Series::default()));
    for round in 0..bench.options.rounds {
        // Another one begins each round: what comes first finds the disk in another state than what comes last.
        for turn in 0..settings.len() {
            let nth = (turn + usize::try_from(round)?) % settings.len();
            let (name, setting) = settings[nth];
            let plan = bench.plan(Products::Hot, Pace::Open(rate), CONNECTIONS);
            let load = bench.load(setting, plan).await?;
            p99[nth].push(load.quantile(0.99));
            errors[nth].push(load.errors() as f64);
            say(&format!(
                "  round {}: {name}: p50 {} ms, p99 {} ms, {} bought, {} errors; {}",
                round + 1,
                figure(load.quantile(0.5)),
                figure(load.quantile(0.99)),
                load.bought,
                load.errors(),
                shown_usage(load.usage)
            ))?;
        }
    }
    let [off, on, frozen] = p99;
    let [_, errors_on, errors_frozen] = errors;
    let row = |measure: &str, ours, baseline, unit, note: &str| Row {
        measure: measure.to_owned(),
        ours,
        baseline,
        unit,
        note: note.to_owned(),
    };
    Ok(vec![
        row("post_p99_relay_on", on.clone(), off, "ms", "p99 at half the peak, relay on against off"),
        row("post_p99_broker_frozen", frozen, on, "ms", "the brokers' processes under SIGSTOP, against up"),
        row("post_errors_broker_frozen", errors_frozen, errors_on, "errors", "of the same orders"),
    ])
}
