//! # `hot_product`, `many_products`
//!
//! Orders a second through HTTP, against pgbench at the number of clients that suits it best, which is looked for
//! once before the rounds.

use super::{Bench, FEW_LINES, RELAY_OFF, Setting, TWO_WORKERS, USUAL};
use crate::Failure;
use crate::load::{Load, Pace, Products};
use crate::pgbench;
use crate::report::{Row, Series, figure, say, shown_usage};
use std::time::Duration;

/// Clients that pgbench is tried with.
const CLIENTS: [usize; 7] = [2, 4, 8, 16, 32, 64, 128];
const SMOKE_CLIENTS: [usize; 1] = [8];
/// Long enough to tell a better number of clients from a worse one.
const TRIAL: Duration = Duration::from_secs(2);
const UNIT: &str = "orders/s";

/// What a setting costs, seen by changing it at the highest number of connections.
const VARIANTS: [(&str, Setting); 3] =
    [("relay_off", RELAY_OFF), ("log_warn", FEW_LINES), ("workers_2", TWO_WORKERS)];

struct Found {
    baseline: Series,
    /// For each number of connections.
    ours: Vec<Series>,
    variants: [Series; VARIANTS.len()],
}

/// The best, then each number of connections, then the variants.
pub(super) async fn measure(bench: &Bench, products: Products) -> Result<Vec<Row>, Failure> {
    let name = match products {
        Products::Hot => "hot_product",
        Products::Many => "many_products",
    };
    say(&format!("\n{name}"))?;
    let clients = best_clients(bench, products).await?;
    let mut found = Found {
        baseline: Series::default(),
        ours: vec![Series::default(); bench.connections().len()],
        variants: Default::default(),
    };
    for round in 1..=bench.options.rounds {
        found.add_round(bench, products, clients, round).await?;
    }
    Ok(found.rows(bench, name, clients))
}

impl Found {
    async fn add_round(
        &mut self,
        bench: &Bench,
        products: Products,
        clients: usize,
        round: u32,
    ) -> Result<(), Failure> {
        let reached = pgbench::run(&bench.servers, products, clients, bench.options.window()).await?;
        self.baseline.push(reached.rate);
        say(&format!(
            "  round {round}: pgbench, {clients} clients: {} {UNIT}; {}",
            figure(reached.rate),
            shown_usage(reached.usage)
        ))?;
        for (series, &connections) in self.ours.iter_mut().zip(bench.connections()) {
            let load = bench.load(USUAL, bench.plan(products, Pace::Closed, connections)).await?;
            series.push(load.rate());
            tell(round, &format!("ours, {connections} connections"), &load)?;
        }
        let connections = bench.most_connections();
        for (series, (variant, setting)) in self.variants.iter_mut().zip(VARIANTS) {
            let load = bench.load(setting, bench.plan(products, Pace::Closed, connections)).await?;
            series.push(load.rate());
            tell(round, &format!("ours, {connections} connections, {variant}"), &load)?;
        }
        Ok(())
    }

    fn rows(self, bench: &Bench, name: &str, clients: usize) -> Vec<Row> {
        let row = |measure: String, ours: &Series, note: String| {
            let (ours, baseline) = (ours.clone(), self.baseline.clone());
            Row { measure, ours, baseline, unit: UNIT, note }
        };
        let connections = bench.connections();
        let best = position_of_best(&self.ours);
        let note = format!("{} connections against pgbench's {clients} clients", connections[best]);
        let mut rows = vec![row(name.to_owned(), &self.ours[best], note)];
        rows.extend(self.ours.iter().zip(connections).map(|(series, connections)| {
            row(format!("{name}_at_{connections}"), series, format!("{connections} connections"))
        }));
        let most = bench.most_connections();
        rows.extend(self.variants.iter().zip(VARIANTS).map(|(series, (variant, _))| {
            row(format!("{name}_{variant}"), series, format!("look at {name}_at_{most}"))
        }));
        rows
    }
}

fn position_of_best(series: &[Series]) -> usize {
    let medians = series.iter().map(Series::median).enumerate();
    medians.max_by(|one, other| one.1.total_cmp(&other.1)).map_or(0, |(position, _)| position)
}

async fn best_clients(bench: &Bench, products: Products) -> Result<usize, Failure> {
    let candidates: &[usize] = if bench.options.smoke { &SMOKE_CLIENTS } else { &CLIENTS };
    let window = TRIAL.min(bench.options.window());
    let mut best = (0, 0.0);
    let mut tried = Vec::new();
    for &clients in candidates {
        let rate = pgbench::run(&bench.servers, products, clients, window).await?.rate;
        tried.push(format!("{clients}: {}", figure(rate)));
        if rate > best.1 {
            best = (clients, rate);
        }
    }
    say(&format!("  pgbench's clients and orders/s: {}", tried.join(", ")))?;
    if best.0 == 0 { Err("pgbench completed no transaction".into()) } else { Ok(best.0) }
}

fn tell(round: u32, who: &str, load: &Load) -> Result<(), Failure> {
    say(&format!(
        "  round {round}: {who}: {} {UNIT}, p50 {} ms, p99 {} ms, {} errors; {}",
        figure(load.rate()),
        figure(load.quantile(0.5)),
        figure(load.quantile(0.99)),
        load.errors(),
        shown_usage(load.usage)
    ))
}
