//! # `overload_goodput`, `memory`
//!
//! What a shop does when twice as many come as it can serve: it should go on at its peak and tell the others at
//! once. Its memory is looked at while it serves the peak.

use super::{Bench, USUAL};
use crate::Failure;
use crate::command_line::Measure;
use crate::load::{self, Load, Pace, Products};
use crate::processor::{Resident, megabytes, with_most_resident};
use crate::report::{Row, Series, figure, say, shown_usage};

/// The peak is taken at so many connections.
const PEAK_CONNECTIONS: usize = 512;
/// Buyers who do not wait for one another: well more than the desk holds, which is its queue (2,000) and a batch (256), so that
/// some are turned away.
const CROWD: usize = 4_096;
const SMOKE_CROWD: usize = 256;
/// Files that a process has open beside its connections, at most.
const OTHER_FILES: usize = 256;

struct AtPeak {
    load: Load,
    idle: Resident,
    highest: Resident,
}

/// The one or the other, or both.
pub(super) async fn measure(bench: &Bench) -> Result<Vec<Row>, Failure> {
    let [mut goodput, mut peaks, mut memory, mut idle] = [(); 4].map(|()| Series::default());
    say("\noverload_goodput, memory: one product")?;
    for round in 1..=bench.options.rounds {
        let at_peak = peak(bench).await?;
        let rate = at_peak.load.rate();
        peaks.push(rate);
        memory.push(megabytes(at_peak.highest.all));
        idle.push(megabytes(at_peak.idle.all));
        say(&format!(
            "  round {round}: peak {} orders/s; resident {} MB, of that {} MB no file's; idle {} MB; {}",
            figure(rate),
            figure(megabytes(at_peak.highest.all)),
            figure(megabytes(at_peak.highest.anonymous)),
            figure(megabytes(at_peak.idle.all)),
            shown_usage(at_peak.load.usage)
        ))?;
        if bench.options.wants(Measure::OverloadGoodput) {
            let overloaded = overload(bench, 2.0 * rate).await?;
            goodput.push(overloaded.rate());
            say(&format!(
                "  round {round}: {} orders/s offered: {} orders/s bought, p99 of those {} ms, {} turned away, {} \
                 failed or unanswered; {}",
                figure(2.0 * rate),
                figure(overloaded.rate()),
                figure(overloaded.quantile(0.99)),
                overloaded.turned_away,
                overloaded.failed,
                shown_usage(overloaded.usage)
            ))?;
        }
    }
    let mut rows = Vec::new();
    let mut add = |measure: &str, ours, baseline, unit, note: &str| {
        rows.push(Row { measure: measure.to_owned(), ours, baseline, unit, note: note.to_owned() });
    };
    if bench.options.wants(Measure::OverloadGoodput) {
        add("overload_goodput", goodput, peaks, "orders/s", "twice the peak offered, against the peak");
    }
    if bench.options.wants(Measure::Memory) {
        add("memory", memory, idle, "MB", "highest resident memory at the peak, against idle");
    }
    Ok(rows)
}

async fn peak(bench: &Bench) -> Result<AtPeak, Failure> {
    let shop = bench.servers.shop().await?;
    let service = bench.serve(&shop.url(), USUAL).await?;
    // Its start is over, and nobody has asked for anything.
    tokio::time::sleep(bench.options.warm_up()).await;
    let idle = Resident::of(service.id()).unwrap_or_default();
    let plan = bench.plan(Products::Hot, Pace::Closed, PEAK_CONNECTIONS);
    let driving = load::drive(service.address, plan, bench.watched(&service));
    let (load, highest) = with_most_resident(service.id(), driving).await;
    let load = load?;
    service.kill().await;
    Ok(AtPeak { load, idle, highest })
}

async fn overload(bench: &Bench, rate: f64) -> Result<Load, Failure> {
    let crowd = if bench.options.smoke { SMOKE_CROWD } else { CROWD };
    if let Some(files) = allowed_files().filter(|&files| files < crowd + OTHER_FILES) {
        let wanted = crowd + OTHER_FILES;
        return Err(
            format!("{crowd} connections want more than {files} open files: ulimit -n {wanted}").into()
        );
    }
    bench.load(USUAL, bench.plan(Products::Hot, Pace::Open(rate), crowd)).await
}

/// How many files this process, and the service that it starts, may have open; none where nobody says.
fn allowed_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    soft_limit(limits.lines().find_map(|line| line.strip_prefix("Max open files"))?)
}

fn soft_limit(values: &str) -> Option<usize> {
    values.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::soft_limit;

    #[test]
    fn the_soft_limit_comes_first_and_may_be_none() {
        assert_eq!(
            soft_limit("            1024                 524288               files     "),
            Some(1024)
        );
        assert_eq!(soft_limit("            unlimited            unlimited            files     "), None);
    }
}
