//! What happened over time, as SVGs: throughput, with the copying of memory below it on the same
//! axis, and the gap from near by.

mod draw;
mod phases;
mod scale;

use super::format::megabits;
use super::words::Words;
use crate::result::{Copying, Migration, PhaseName};
use anyhow::Result;
use draw::{Curve, Drawing, Line, Panel, Reference, Span};

/// Height of the panel of throughput.
const TALL: f64 = 300.0;
/// Height of those below it.
const LOW: f64 = 74.0;
/// Length of a sample, in milliseconds.
const SAMPLE: f64 = 100.0;
/// The same around the gap.
const FINE: f64 = 10.0;
/// Styles of the lines of other strategies.
const OTHERS: [&str; 3] = ["other first", "other second", "other third"];

/// Draws a result.
pub(super) fn svg(result: &Migration) -> Result<String> {
    let end = result.phases.last().map_or(1.0, |phase| phase.end_ms).max(1.0);
    let mut panels = vec![throughput(result)];
    panels.extend(copying(result));
    let drawing = Drawing {
        label: "Throughput over time, by phase of the migration, and how its memory was copied",
        span: Span { from: 0.0, to: end },
        panels,
        legend: legend(result),
    };
    drawing.svg(result)
}

/// Draws the gap in steps of a hundredth of a second; `None` where nobody knows them.
pub(super) fn zoom(result: &Migration) -> Result<Option<String>> {
    let (Some((first, _)), Some((last, _))) =
        (result.gap_samples.first(), result.gap_samples.last())
    else {
        return Ok(None);
    };
    let curve = Curve::of(&result.gap_samples, FINE);
    let panel = Panel {
        height: LOW * 2.0,
        title: format!("{} (Mbit/s)", Words::of(result).rate),
        unit: 1e6,
        lines: vec![Line { class: "line", curve, is_filled: true }],
        reference: None,
    };
    let drawing = Drawing {
        label: "Throughput around the gap, in steps of a hundredth of a second",
        span: Span { from: *first as f64, to: *last as f64 + FINE },
        panels: vec![panel],
        legend: Vec::new(),
    };
    Ok(Some(drawing.svg(result)?))
}

/// What the drawing does not say itself.
pub(super) fn caption(result: &Migration) -> String {
    let mut text = "Each step of a line is a tenth of a second.".to_owned();
    if !result.lost.is_empty() {
        text += " Red is what was lost; of a time in which the guest reported nothing, evenly.";
    }
    if !result.comparisons.is_empty() {
        text += &format!(
            " Every migration starts at the same place; the phases and events shown are those of \
            {}.",
            result.arrangement()
        );
    }
    text
}

fn throughput(result: &Migration) -> Panel {
    let mut lines =
        vec![Line { class: "line", curve: Curve::of(&result.samples, SAMPLE), is_filled: true }];
    for (other, class) in result.comparisons.iter().zip(OTHERS) {
        let curve = Curve::of(&other.samples, SAMPLE).moved(start(result) - start(other));
        lines.push(Line { class, curve, is_filled: false });
    }
    if let Some(length) = result.traffic.ip_length {
        let bits = |lost: f64| lost * length as f64 * 8.0 * 1000.0 / SAMPLE;
        let lost: Vec<_> = result.lost.iter().map(|(ms, lost)| (*ms, bits(*lost))).collect();
        lines.push(Line { class: "lost", curve: Curve::bars(&lost, SAMPLE), is_filled: true });
    }
    let reference = result.saturated.map(|saturated| Reference {
        value: saturated.before,
        label: format!("takes {} Mbit/s when flooded", megabits(saturated.before)),
    });
    Panel {
        height: TALL,
        title: format!("{} (Mbit/s)", Words::of(result).rate),
        unit: 1e6,
        lines,
        reference,
    }
}

/// Memory left, how fast it changed, and what the guest marked.
fn copying(result: &Migration) -> Vec<Panel> {
    let mut panels = Vec::new();
    let mut add = |title: &str, unit: f64, curve: Curve| {
        if !curve.is_flat_zero() {
            let lines = vec![Line { class: "line", curve, is_filled: true }];
            panels.push(Panel { height: LOW, title: title.into(), unit, lines, reference: None });
        }
    };
    let mebibyte = f64::from(1 << 20);
    let of = |value: fn(&Copying) -> u64| {
        Curve::points(result.copying.iter().map(|at| (at.ms, value(at) as f64)))
    };
    add("memory left (MiB)", mebibyte, of(|at| at.remaining_bytes));
    add("changing (MiB/s)", mebibyte, of(|at| at.dirty_bytes_per_s));
    add("marked (pages/s)", 1.0, Curve::of(&result.marked, SAMPLE));
    panels
}

fn legend(result: &Migration) -> Vec<(&'static str, &'static str)> {
    if result.comparisons.is_empty() {
        return Vec::new();
    }
    let runs = std::iter::once(result).chain(&result.comparisons);
    runs.zip(["line"].into_iter().chain(OTHERS))
        .map(|(run, class)| (class, run.arrangement()))
        .collect()
}

/// When the migration started.
fn start(result: &Migration) -> f64 {
    result.phase(PhaseName::Before).map_or(0.0, |phase| phase.end_ms)
}
