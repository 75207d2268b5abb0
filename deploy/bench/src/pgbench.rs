//! # The baseline
//!
//! pgbench, which comes with PostgreSQL: the same transaction as an ordinary service runs it, one order at a time and
//! statement by statement, prepared, on the same server, schema and durability. There is no HTTP and no relay in
//! it, so the comparison favours the baseline.

use crate::Failure;
use crate::load::Products;
use crate::processor::{Reading, Usage, Watched};
use crate::servers::Servers;
use engines::child_process;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What the baseline reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline {
    /// Orders in a second.
    pub(crate) rate: f64,
    /// Who used the processors.
    pub(crate) usage: Usage,
}

/// Where it is: beside the server's programs, else on the `PATH`.
pub(crate) fn program(servers: &Servers) -> Result<PathBuf, Failure> {
    let beside = servers.postgres.binaries().join("pgbench");
    if beside.is_file() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("pgbench")).find(|it| it.is_file());
    found.ok_or_else(|| {
        format!(
            "the baseline needs pgbench, which is neither in {} nor on the PATH: install PostgreSQL's own \
             (on Debian: apt-get install postgresql), or measure what needs none of it, such as \
             --only post_p99 --only single_order",
            servers.postgres.binaries().display()
        )
        .into()
    })
}

/// pgbench counts in whole seconds.
const WARM_UP: Duration = Duration::from_secs(1);

/// Runs the transaction for so long with so many clients, in a new database.
pub(crate) async fn run(
    servers: &Servers,
    products: Products,
    clients: usize,
    window: Duration,
) -> Result<Baseline, Failure> {
    let shop = servers.shop().await?;
    let script = servers.postgres.folder().join(format!("{products:?}.sql"));
    std::fs::write(&script, script_of(products))?;
    let program = program(servers)?;
    let command_for = |time: Duration| {
        let mut command = Command::new(&program);
        command
            .args(["--no-vacuum", "--protocol=prepared"])
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={}", clients.min(2)))
            .arg(format!("--time={}", time.as_secs()))
            .arg("--file")
            .arg(&script)
            .arg(shop.url())
            .env("LC_ALL", "C");
        command
    };
    // As long as our first orders are not counted either: a database that was just copied is slower.
    let mut warm_up = command_for(WARM_UP);
    let (status, printed) = tokio::task::spawn_blocking(move || child_process::run(&mut warm_up)).await??;
    if !status.success() {
        return Err(format!("pgbench failed ({status}): {printed}").into());
    }
    let mut command = command_for(window);
    let watched = Watched { service: None, postgres: servers.postgres.id(), brokers: servers.broker.ids() };
    let reading = Reading::take(watched);
    let (status, printed) = tokio::task::spawn_blocking(move || child_process::run(&mut command)).await??;
    let usage = reading.since();
    match transactions_a_second(&printed) {
        Some(rate) if status.success() => Ok(Baseline { rate, usage }),
        Some(_) | None => Err(format!("pgbench failed ({status}): {printed}").into()),
    }
}

fn script_of(products: Products) -> &'static str {
    match products {
        Products::Hot => include_str!("hot_product.sql"),
        Products::Many => include_str!("many_products.sql"),
    }
}

fn transactions_a_second(printed: &str) -> Option<f64> {
    let rest = printed.lines().find_map(|line| line.strip_prefix("tps = "))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_pgbench_prints() {
        let printed = "latency average = 1.2 ms\ntps = 667.5 (without initial connection time)\n";
        assert_eq!(transactions_a_second(printed), Some(667.5));
        assert_eq!(transactions_a_second("pgbench: error: no server"), None);
    }
}
