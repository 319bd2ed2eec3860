//! Several migrations of one guest.

use super::format::{duration, service_gap, thousands};
use crate::migration::Outcome;
use crate::result::{Migration, median};
use serde::Serialize;

const COLUMNS: usize = 7;

/// A row for each migration of a series; none for a single one.
#[derive(Serialize)]
pub(super) struct Series {
    pub(super) columns: [&'static str; COLUMNS],
    pub(super) rows: Vec<[String; COLUMNS]>,
    /// Least, median and most of what is a number, of those that completed.
    pub(super) spread: Vec<[String; COLUMNS]>,
    /// What their gaps exceed the downtime by.
    pub(super) median: Option<String>,
}

impl Series {
    pub(super) fn of(result: &Migration) -> Self {
        let columns =
            ["", "outcome", "downtime", "service gap", "lost in it", "lost in all", "stale"];
        let runs = result.runs();
        if runs.len() < 2 {
            return Self { columns, rows: Vec::new(), spread: Vec::new(), median: None };
        }
        let median = result.median_beyond_downtime();
        let median = median
            .map(|ms| format!("The service gap exceeds the downtime by {ms:.0} ms in the median."));
        let rows = runs.iter().enumerate().map(|(index, run)| row(index + 1, run)).collect();
        Self { columns, rows, spread: spread(&runs), median }
    }

    /// For a terminal.
    pub(super) fn lines(&self) -> Vec<String> {
        let titles = self.columns.map(str::to_owned);
        let rows = std::iter::once(&titles).chain(&self.rows).chain(&self.spread);
        let rows = rows.filter(|_| !self.rows.is_empty());
        rows.map(|[number, outcome, figures @ ..]| {
            let figures = figures.iter().map(|figure| format!("{figure:>13}"));
            format!("{number:<8}{outcome:<11}{}", figures.collect::<String>())
        })
        .chain(self.median.clone())
        .collect()
    }
}

/// How far apart the figures of those are that completed, if several have.
fn spread(runs: &[&Migration]) -> Vec<[String; COLUMNS]> {
    let completed = runs.iter().filter(|run| run.outcome == Outcome::Completed);
    let sorted = |value: fn(&Migration) -> Option<f64>| {
        let mut values: Vec<f64> = completed.clone().filter_map(|run| value(run)).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let downtimes = sorted(|run| run.migration.downtime_ms.map(|ms| ms as f64));
    let gaps = sorted(|run| run.losses.map(|_| run.service_gap_ms));
    let in_gap = sorted(|run| run.losses.map(|losses| losses.in_gap as f64));
    let lost = sorted(|run| run.losses.map(|losses| losses.lost as f64));
    if downtimes.len() < 2 {
        return Vec::new();
    }
    let pick = |values: &[f64], which: usize| match which {
        0 => values.first().copied(),
        1 => median(values),
        _ => values.last().copied(),
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let count = |value: f64| thousands(value.round() as u64);
    (0..)
        .zip(["least", "median", "most"])
        .map(|(which, name)| {
            [
                name.into(),
                String::new(),
                or_dash(pick(&downtimes, which).map(duration)),
                or_dash(pick(&gaps, which).map(duration)),
                or_dash(pick(&in_gap, which).map(count)),
                or_dash(pick(&lost, which).map(count)),
                String::new(),
            ]
        })
        .collect()
}

fn row(number: usize, run: &Migration) -> [String; COLUMNS] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let outcome = match run.outcome {
        Outcome::Completed => "completed",
        Outcome::Cancelled => "cancelled",
        Outcome::Failed => "failed",
    };
    [
        number.to_string(),
        outcome.into(),
        or_dash(run.migration.downtime_ms.map(|ms| duration(ms as f64))),
        service_gap(run),
        or_dash(run.losses.map(|losses| thousands(losses.in_gap))),
        or_dash(run.losses.map(|losses| thousands(losses.lost))),
        or_dash(run.integrity.stale.map(thousands)),
    ]
}
