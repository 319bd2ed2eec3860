//! Several migrations of one guest.

use super::format::{duration, service_gap, thousands};
use crate::migration::Outcome;
use crate::result::Migration;
use serde::Serialize;

const COLUMNS: usize = 7;

/// A row for each migration of a series; none for a single one.
#[derive(Serialize)]
pub(super) struct Series {
    pub(super) columns: [&'static str; COLUMNS],
    pub(super) rows: Vec<[String; COLUMNS]>,
    /// What their gaps exceed the downtime by.
    pub(super) median: Option<String>,
}

impl Series {
    pub(super) fn of(result: &Migration) -> Self {
        let columns =
            ["", "outcome", "downtime", "service gap", "lost in it", "lost in all", "stale"];
        let runs = result.runs();
        if runs.len() < 2 {
            return Self { columns, rows: Vec::new(), median: None };
        }
        let median = result.median_beyond_downtime();
        let median = median
            .map(|ms| format!("The service gap exceeds the downtime by {ms:.0} ms in the median."));
        let rows = runs.iter().enumerate().map(|(index, run)| row(index + 1, run)).collect();
        Self { columns, rows, median }
    }

    /// For a terminal.
    pub(super) fn lines(&self) -> Vec<String> {
        let titles = self.columns.map(str::to_owned);
        let rows = std::iter::once(&titles).chain(&self.rows).filter(|_| !self.rows.is_empty());
        rows.map(|[number, outcome, figures @ ..]| {
            let figures = figures.iter().map(|figure| format!("{figure:>13}"));
            format!("{number:<4}{outcome:<11}{}", figures.collect::<String>())
        })
        .chain(self.median.clone())
        .collect()
    }
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
