//! Throughput over time, as an SVG.

use super::format::{duration, megabits};
use super::words::Words;
use crate::result::{Migration, PhaseName};
use anyhow::Result;
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
/// Height of the plotting area.
const HEIGHT: f64 = 300.0;
/// Above the plotting area, without the rows of event labels and the legend.
const HEAD: f64 = 34.0;
/// The legend, where there is one.
const LEGEND: f64 = 24.0;
/// Width of a sample of a line in the legend.
const SAMPLE: f64 = 26.0;
/// A row of event labels.
const ROW: f64 = 17.0;
/// Below the plotting area.
const FOOT: f64 = 46.0;
/// Width of a letter of the labels, about.
const LETTER: f64 = 6.3;

#[derive(Serialize)]
struct Plot {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    /// Top, bottom and height of the plotting area.
    roof: f64,
    floor: f64,
    area: f64,
    bands: Vec<Band>,
    grid: Vec<Tick>,
    ticks: Vec<Tick>,
    markers: Vec<Marker>,
    /// What the axis is labelled.
    rate: &'static str,
    /// Points of the line.
    line: String,
    /// The lines of migrations with other strategies.
    others: Vec<Other>,
    /// What line is whose, if there is more than one.
    legend: Vec<Entry>,
    saturated: Option<Tick>,
}

#[derive(Serialize)]
struct Other {
    class: &'static str,
    line: String,
}

/// A line's entry in the legend.
#[derive(Serialize)]
struct Entry {
    class: &'static str,
    label: &'static str,
    /// Where its sample starts, and where it ends.
    x: f64,
    end: f64,
}

#[derive(Serialize)]
struct Band {
    class: &'static str,
    title: String,
    /// As much of the title as fits inside.
    label: String,
    x: f64,
    width: f64,
}

#[derive(Serialize)]
struct Tick {
    at: f64,
    label: String,
}

#[derive(Serialize)]
struct Marker {
    x: f64,
    label: String,
    /// Baseline of the label.
    y: f64,
    /// The label is to the left of its line.
    left: bool,
}

/// Draws a result.
pub(super) fn svg(result: &Migration) -> Result<String> {
    let end = result.phases.last().map_or(1.0, |phase| phase.end_ms).max(1.0);
    let all = std::iter::once(result).chain(&result.comparisons);
    let peak = all.flat_map(|run| &run.samples).map(|(_, rate)| *rate).fold(1.0, f64::max);
    let reference =
        result.saturated.map(|saturated| saturated.before).filter(|rate| *rate < peak * 3.0);
    let (step, top) = scale(peak.max(reference.unwrap_or(0.0)) * 1.05);
    let x = |ms: f64| LEFT + (WIDTH - LEFT - RIGHT) * ms.clamp(0.0, end) / end;
    let legend = legend(result);
    let head = if legend.is_empty() { HEAD } else { HEAD + LEGEND };
    let (markers, rows) = markers(result, head, x);
    let roof = head + rows as f64 * ROW;
    let y = |rate: f64| roof + HEIGHT * (1.0 - rate.clamp(0.0, top) / top);

    let bands: Vec<Band> = result
        .phases
        .iter()
        .map(|phase| {
            let (start, end) = (x(phase.start_ms), x(phase.end_ms));
            let title = match phase.name {
                PhaseName::Gap => format!("gap {}", duration(phase.end_ms - phase.start_ms)),
                name => format!("{}  {} Mbit/s", name.title(), megabits(phase.rx_bits_per_s)),
            };
            let width = end - start;
            let label = [&title, phase.name.title()]
                .into_iter()
                .find(|text| text.len() as f64 * LETTER < width)
                .unwrap_or_default()
                .to_owned();
            Band { class: class(phase.name), title, label, x: start, width }
        })
        .collect();
    let line = step_line(result, 0.0, end, x, y);
    let others = result
        .comparisons
        .iter()
        .zip(OTHERS)
        .map(|(other, class)| Other {
            class,
            line: step_line(other, start(result) - start(other), end, x, y),
        })
        .collect();
    let grid: Vec<Tick> = (0..=(top / step).round() as u32)
        .map(|n| f64::from(n) * step)
        .map(|rate| Tick {
            at: y(rate),
            label: format!("{}", (rate / 1e6 * 100.0).round() / 100.0),
        })
        .collect();
    let (second, _) = scale(end / 1.6);
    let ticks: Vec<Tick> = (0..=(end / second).floor() as u32)
        .map(|n| f64::from(n) * second)
        .map(|ms| Tick { at: x(ms), label: format!("{}", ms / 1000.0) })
        .collect();

    let mut environment = Environment::new();
    environment.add_template("plot.svg", include_str!("plot.svg"))?;
    environment.add_filter("px", |number: f64| format!("{number:.1}"));
    let plot = Plot {
        width: WIDTH,
        height: roof + HEIGHT + FOOT,
        left: LEFT,
        right: WIDTH - RIGHT,
        roof,
        floor: roof + HEIGHT,
        area: HEIGHT,
        bands,
        grid,
        ticks,
        markers,
        rate: Words::of(result).rate,
        line,
        others,
        legend,
        saturated: reference.map(|rate| Tick {
            at: y(rate),
            label: format!("takes {} Mbit/s when flooded", megabits(rate)),
        }),
    };
    Ok(environment.get_template("plot.svg")?.render(Serde(plot))?)
}

/// What the drawing does not say itself.
pub(super) fn caption(result: &Migration) -> String {
    let mut text = "Each step of a line is a tenth of a second.".to_owned();
    if !result.comparisons.is_empty() {
        text += &format!(
            " Every migration starts at the same place; the phases and events shown are those of \
            {}.",
            result.arrangement()
        );
    }
    text
}

/// Styles of the lines of other strategies.
const OTHERS: [&str; 2] = ["other first", "other second"];

fn legend(result: &Migration) -> Vec<Entry> {
    if result.comparisons.is_empty() {
        return Vec::new();
    }
    let mut x = LEFT;
    std::iter::once(result)
        .chain(&result.comparisons)
        .zip(["line"].into_iter().chain(OTHERS))
        .map(|(run, class)| {
            let label = run.arrangement();
            let entry = Entry { class, label, x, end: x + SAMPLE };
            x += SAMPLE + label.len() as f64 * LETTER + 34.0;
            entry
        })
        .collect()
}

fn class(name: PhaseName) -> &'static str {
    match name {
        PhaseName::Before => "before",
        PhaseName::Warmup => "warmup",
        PhaseName::Gap => "gap",
        PhaseName::After => "after",
    }
}

/// When the migration started.
fn start(result: &Migration) -> f64 {
    result.phase(PhaseName::Before).map_or(0.0, |phase| phase.end_ms)
}

/// Samples as the points of a line with steps, moved by `shift`: each holds for its tenth of a
/// second.
fn step_line(
    result: &Migration,
    shift: f64,
    end: f64,
    x: impl Fn(f64) -> f64,
    y: impl Fn(f64) -> f64,
) -> String {
    let mut points = String::new();
    for (ms, rate) in &result.samples {
        let ms = *ms as f64 + shift;
        if ms < 0.0 || ms > end {
            continue;
        }
        for at in [ms, ms + 100.0] {
            points.push_str(&format!("{:.1},{:.1} ", x(at), y(*rate)));
        }
    }
    points.trim_end().to_owned()
}

/// A step of 1, 2 or 5 times a power of ten that divides what is up to `limit` into about five, and
/// the multiple of it that covers `limit`.
fn scale(limit: f64) -> (f64, f64) {
    let rough = limit / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|n| n * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    (step, (limit / step).ceil() * step)
}

/// Labels of events, in as many rows from `head` on as it takes for none to touch another.
fn markers(result: &Migration, head: f64, x: impl Fn(f64) -> f64) -> (Vec<Marker>, usize) {
    let mut rows: Vec<f64> = Vec::new();
    let mut markers = Vec::new();
    for event in &result.events {
        let at = x(event.ms);
        let width = event.name.chars().count() as f64 * LETTER + 12.0;
        let left = at + width > WIDTH - RIGHT;
        let start = if left { at - width } else { at };
        let row = rows.iter().position(|end| *end <= start).unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(0.0);
        }
        rows[row] = start + width;
        markers.push(Marker {
            x: at,
            label: event.name.clone(),
            y: head + row as f64 * ROW - 12.0,
            left,
        });
    }
    (markers, rows.len())
}

#[cfg(test)]
mod tests {
    use super::scale;

    #[test]
    fn axes_have_round_steps() {
        assert_eq!(scale(74e6), (20e6, 80e6));
        assert_eq!(scale(101.0), (50.0, 150.0));
        assert_eq!(scale(9.0), (2.0, 10.0));
    }
}
