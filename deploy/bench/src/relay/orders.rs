//! # `order_p99_while_draining`
//!
//! What a backlog that is published costs the buyers: the p99 of POST, by a schedule, while order-service works one off,
//! against the same without one. The backlog must last longer than the orders do.

use super::RelayBench;
use super::backlog::{connect, fill};
use crate::Failure;
use crate::load::{self, Load, Pace, Plan, Products};
use crate::report::{Row, Series, figure, say, shown_usage};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

const ORDERS_PER_SECOND: f64 = 500.0;
const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(8);
/// COMMITs by which the disk is judged.
const PROBES: usize = 500;
const STILL_QUIET: f64 = 1.15;
const LONGEST_UNREST: Duration = Duration::from_mins(1);

/// The p99 with and without.
pub(super) async fn measure(bench: &RelayBench) -> Result<Row, Failure> {
    say("\norder_p99_while_draining")?;
    let (mut draining, mut usual) = (Series::default(), Series::default());
    for round in 0..bench.options.rounds {
        for turn in 0..2 {
            let drains = (turn + round) % 2 == 0;
            let rows = if drains { bench.options.rows } else { 0 };
            let (load, published) = with_backlog(bench, rows).await?;
            let side = if drains { &mut draining } else { &mut usual };
            side.push(load.quantile(0.99));
            say(&format!(
                "  round {}: {}: p50 {} ms, p99 {} ms, {} bought, {} errors; {} events/s; {}",
                round + 1,
                if drains { "draining" } else { "no backlog" },
                figure(load.quantile(0.5)),
                figure(load.quantile(0.99)),
                load.bought,
                load.errors(),
                figure(published),
                shown_usage(load.usage)
            ))?;
        }
    }
    let (measure, note) =
        ("order_p99_while_draining".to_owned(), "p99 of POST at 500 orders/s, against no backlog".to_owned());
    Ok(Row { measure, ours: draining, baseline: usual, unit: "ms", note })
}

/// The load, and how many events of the backlog were published in a second meanwhile.
async fn with_backlog(bench: &RelayBench, rows: u64) -> Result<(Load, f64), Failure> {
    let shop = bench.servers.shop().await?;
    let client = connect(&shop.url()).await?;
    client.batch_execute("CREATE TABLE probe (n integer)").await?;
    let usual = slow_commit(&client).await?;
    if rows > 0 {
        fill(&client, rows, 1).await?;
    }
    client.batch_execute("CHECKPOINT").await?;
    until_disk_is_quiet(&client, usual).await?;
    let service = bench.serve(&shop.url()).await?;
    let plan = Plan {
        products: Products::Many,
        pace: Pace::Open(ORDERS_PER_SECOND),
        connections: CONNECTIONS,
        warm_up: WARM_UP,
        window: WINDOW,
    };
    let load = load::drive(service.address, plan, bench.watched(&service)).await;
    service.kill().await;
    let left =
        client.query_one("SELECT count(*) FROM outbox WHERE seq <= $1", &[&i64::try_from(rows)?]).await?;
    let left = u64::try_from(left.get::<_, i64>(0))?;
    if rows > 0 && left == 0 {
        return Err("the backlog was gone before the last order: take more --rows".into());
    }
    Ok((load?, (rows - left) as f64 / (WARM_UP + WINDOW).as_secs_f64()))
}

/// The backlog was written in seconds, and the disk has to do with it for some more: until a COMMIT takes as long as before.
async fn until_disk_is_quiet(client: &Client, usual: Duration) -> Result<(), Failure> {
    let give_up = Instant::now() + LONGEST_UNREST;
    while slow_commit(client).await? > usual.mul_f64(STILL_QUIET) {
        if Instant::now() > give_up {
            say("  the disk has not become quiet again: the next figures are worth little")?;
            break;
        }
    }
    Ok(())
}

/// The ninth decile of what a COMMIT takes.
async fn slow_commit(client: &Client) -> Result<Duration, Failure> {
    let mut taken = Vec::with_capacity(PROBES);
    for _ in 0..PROBES {
        let began = Instant::now();
        client.execute("INSERT INTO probe VALUES (1)", &[]).await?;
        taken.push(began.elapsed());
    }
    taken.sort();
    Ok(taken[PROBES * 9 / 10])
}
