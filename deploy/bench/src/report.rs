//! # What a run has found
//!
//! A measure has a figure of each side for every round. The table shows medians with the lowest and highest
//! round; the JSON the medians. Which way is better differs: a rate should be high, a latency low.

use crate::Failure;
use crate::processor::Usage;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// One side's figures, one a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    /// Another round's.
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// How many rounds.
    pub(crate) fn rounds(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or between the two in the middle; 0 without any.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => 0.0,
            even if even.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        }
    }

    fn shown(&self) -> String {
        let lowest = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{} ({}-{})", figure(self.median()), figure(lowest), figure(highest))
    }
}

/// A measure's whole result.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its name, as issues and README call it.
    pub(crate) measure: String,
    /// Ours.
    pub(crate) ours: Series,
    /// What it is compared with.
    pub(crate) baseline: Series,
    /// Of both.
    pub(crate) unit: &'static str,
    /// What was compared, in a few words.
    pub(crate) note: String,
}

#[derive(Serialize)]
struct Record<'a> {
    measure: &'a str,
    ours: f64,
    baseline: f64,
    unit: &'a str,
    /// Null where the baseline is 0.
    ratio: Option<f64>,
    rounds: usize,
}

impl Row {
    fn record(&self) -> Record<'_> {
        let (ours, baseline) = (self.ours.median(), self.baseline.median());
        Record {
            measure: &self.measure,
            ours,
            baseline,
            unit: self.unit,
            ratio: (baseline > 0.0).then(|| ours / baseline),
            rounds: self.ours.rounds(),
        }
    }
}

/// Prints the table and writes `target/bench/NAME.json`.
pub(crate) fn publish(name: &str, rows: &[Row]) -> Result<(), Failure> {
    say("")?;
    say(&format!(
        "{:<26} {:>24} {:>24} {:>8}  unit",
        "measure", "ours (min-max)", "baseline (min-max)", "ratio"
    ))?;
    for row in rows {
        let ratio = row.record().ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        say(&format!(
            "{:<26} {:>24} {:>24} {ratio:>8}  {}; {}",
            row.measure,
            row.ours.shown(),
            row.baseline.shown(),
            row.unit,
            row.note
        ))?;
    }
    let file = folder().join(format!("{name}.json"));
    std::fs::create_dir_all(folder())?;
    let records: Vec<Record<'_>> = rows.iter().map(Row::record).collect();
    std::fs::write(&file, serde_json::to_string_pretty(&records)? + "\n")?;
    say(&format!("\nwritten to {}", file.display()))
}

/// The workspace's own target folder where cargo runs us, else one where we stand.
fn folder() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let workspace = package.and_then(|package| Some(package.parent()?.parent()?.to_owned()));
    workspace.unwrap_or_default().join("target/bench")
}

/// A line for a person.
pub(crate) fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Who used how much of a processor, as text.
pub(crate) fn shown_usage(usage: Usage) -> String {
    let Usage { service, postgres, driver, broker } = usage;
    format!(
        "processors: service {service:.2}, PostgreSQL {postgres:.2}, driver {driver:.2}, broker {broker:.2}"
    )
}

/// As many digits as mean something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(figures: &[f64]) -> Series {
        Series(figures.to_vec())
    }

    #[test]
    fn the_median_is_in_the_middle_and_the_spread_at_the_ends() {
        assert!((series(&[3.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((series(&[4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < 1e-9);
        assert_eq!(series(&[300.0, 100.0, 200.0]).shown(), "200 (100-300)");
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        let row = |baseline: f64| Row {
            measure: "m".to_owned(),
            ours: series(&[4.0]),
            baseline: series(&[baseline]),
            unit: "u",
            note: String::new(),
        };
        assert_eq!(row(0.0).record().ratio, None);
        assert_eq!(row(2.0).record().ratio, Some(2.0));
    }
}
