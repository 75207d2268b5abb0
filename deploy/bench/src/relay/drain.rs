//! # `drain_vs_raw`, `drain_memory`, `held_horizon_rate`
//!
//! A backlog that is there when order-service starts; the time until the outbox is empty, start included.

use super::backlog::{connect, fill, until_empty};
use super::{RelayBench, RelayMeasure, raw};
use crate::Failure;
use crate::processor::{Reading, Resident, megabytes, with_most_resident};
use crate::report::{Row, Series, figure, say, shown_usage};
use tokio::time::Instant;

/// The backlog of which the memory is compared with.
const FEW_ROWS: u64 = 10_000;

struct Drained {
    rate: f64,
    highest: Resident,
}

/// The rates and the memory.
pub(super) async fn measure(bench: &RelayBench) -> Result<Vec<Row>, Failure> {
    let [mut rates, mut raws, mut memory, mut few] = [(); 4].map(|()| Series::default());
    say("\ndrain_vs_raw, drain_memory")?;
    for round in 1..=bench.options.rounds {
        let many = drain(bench, bench.options.rows).await?;
        rates.push(many.rate);
        memory.push(megabytes(many.highest.all));
        if bench.options.wants(RelayMeasure::DrainVsRaw) {
            let (servers, rows) = (bench.servers.broker.bootstrap_servers(), bench.options.rows);
            let rate = tokio::task::spawn_blocking(move || raw::rate(&servers, rows)).await??;
            raws.push(rate);
            say(&format!("  round {round}: raw {} events/s", figure(rate)))?;
        }
        if bench.options.wants(RelayMeasure::DrainMemory) {
            few.push(megabytes(drain(bench, FEW_ROWS).await?.highest.all));
        }
    }
    let mut rows = Vec::new();
    let mut add = |measure: &str, ours, baseline, unit, note: &str| {
        rows.push(Row { measure: measure.to_owned(), ours, baseline, unit, note: note.to_owned() });
    };
    if bench.options.wants(RelayMeasure::DrainVsRaw) {
        add("drain_vs_raw", rates, raws, "events/s", "a backlog published, against raw librdkafka");
    }
    if bench.options.wants(RelayMeasure::DrainMemory) {
        add("drain_memory", memory, few, "MB", "highest resident memory, against a backlog of 10,000 rows");
    }
    Ok(rows)
}

async fn drain(bench: &RelayBench, rows: u64) -> Result<Drained, Failure> {
    let shop = bench.servers.shop().await?;
    let client = connect(&shop.url()).await?;
    fill(&client, rows, 1).await?;
    client.batch_execute("CHECKPOINT").await?;
    let began = Instant::now();
    let service = bench.serve(&shop.url()).await?;
    let reading = Reading::take(bench.watched(&service));
    let (emptied, highest) = with_most_resident(service.id(), until_empty(&client)).await;
    let emptied = emptied?;
    let rate = rows as f64 / (emptied - began).as_secs_f64();
    say(&format!(
        "  {rows} rows: {} events/s; resident {} MB; {}",
        figure(rate),
        figure(megabytes(highest.all)),
        shown_usage(reading.since())
    ))?;
    service.kill().await;
    Ok(Drained { rate, highest })
}

/// The rate of a backlog behind a million deleted rows that vacuum may not remove, against the rate before.
pub(super) async fn measure_held_horizon(bench: &RelayBench) -> Result<Row, Failure> {
    let (mut held, mut before) = (Series::default(), Series::default());
    say("\nheld_horizon_rate")?;
    for round in 1..=bench.options.rounds {
        let (shop, elsewhere) = (bench.servers.shop().await?, bench.servers.shop().await?);
        let client = connect(&shop.url()).await?;
        let service = bench.serve(&shop.url()).await?;
        let few = (bench.options.rows / 5).max(1);
        let first = timed(&client, few, 1).await?;
        let snapshot = connect(&shop.url()).await?;
        snapshot.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM orders").await?;
        let writer = connect(&elsewhere.url()).await?;
        writer.batch_execute("BEGIN; INSERT INTO product (name) VALUES ('held')").await?;
        timed(&client, bench.options.rows, few + 1).await?;
        let last = timed(&client, few, few + bench.options.rows + 1).await?;
        say(&format!("  round {round}: {} events/s before, {} behind", figure(first), figure(last)))?;
        before.push(first);
        held.push(last);
        for session in [snapshot, writer] {
            session.batch_execute("ROLLBACK").await?;
        }
        service.kill().await;
    }
    let (measure, note) =
        ("held_horizon_rate".to_owned(), "behind as many deleted rows, against before".to_owned());
    Ok(Row { measure, ours: held, baseline: before, unit: "events/s", note })
}

async fn timed(client: &tokio_postgres::Client, rows: u64, first_key: u64) -> Result<f64, Failure> {
    fill(client, rows, first_key).await?;
    let began = Instant::now();
    let emptied = until_empty(client).await?;
    Ok(rows as f64 / (emptied - began).as_secs_f64())
}
