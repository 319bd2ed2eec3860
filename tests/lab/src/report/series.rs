//! Several migrations of one guest.

use super::{duration, thousands};
use crate::migration::Outcome;
use crate::result::Migration;

/// A line for each migration of a series, and the median of what their gaps exceed the downtime by. None for a single one.
pub(super) fn lines(result: &Migration) -> Vec<String> {
    let runs = result.runs();
    if runs.len() < 2 {
        return Vec::new();
    }
    let mut lines: Vec<String> =
        runs.iter().enumerate().map(|(index, run)| line(index + 1, run)).collect();
    if let Some(median) = result.median_beyond_downtime() {
        lines.push(format!(
            "what the service gap exceeds the downtime by, in the median: {median:.0} ms"
        ));
    }
    lines
}

fn line(number: usize, run: &Migration) -> String {
    let downtime = run.migration.downtime_ms.map_or("-".into(), |ms| duration(ms as f64));
    let lost = run.losses.map(|losses| {
        format!("  lost {} in it, {} in all", thousands(losses.in_gap), thousands(losses.lost))
    });
    format!(
        "{number:<4}{:<11}downtime {downtime:>8}  service gap {:>8}{}  stale {}",
        match run.outcome {
            Outcome::Completed => "completed",
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
        },
        duration(run.service_gap_ms),
        lost.unwrap_or_default(),
        thousands(run.integrity.stale)
    )
}
