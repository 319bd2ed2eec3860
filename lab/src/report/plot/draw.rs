//! Panels one below the other, on one axis of time.

use super::phases::{class, title};
use super::scale::{number, scale};
use crate::result::Migration;
use anyhow::Result;
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
/// Above the first panel, without the rows of event labels and the legend.
const HEAD: f64 = 34.0;
/// The legend, where there is one.
const LEGEND: f64 = 24.0;
/// Width of a sample of a line in the legend.
const SAMPLE: f64 = 26.0;
/// A row of event labels.
const ROW: f64 = 17.0;
/// Between two panels, for the title of the lower one.
const BETWEEN: f64 = 28.0;
/// Below the last panel.
const FOOT: f64 = 46.0;
/// Width of a letter of the labels, about.
const LETTER: f64 = 6.3;
/// Between two lines of a grid, at least.
const GRID: f64 = 32.0;
/// More than this above the lines, and a reference is left out.
const FAR: f64 = 3.0;

/// From when to when, in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
}

/// All of an SVG.
pub(super) struct Drawing {
    /// What it shows, for those who do not see it.
    pub(super) label: &'static str,
    pub(super) span: Span,
    /// From above.
    pub(super) panels: Vec<Panel>,
    /// Class and name of each line, if there is more than one.
    pub(super) legend: Vec<(&'static str, &'static str)>,
}

/// An axis of its own, and what is on it.
pub(super) struct Panel {
    pub(super) height: f64,
    pub(super) title: String,
    /// What is 1 on the axis.
    pub(super) unit: f64,
    pub(super) lines: Vec<Line>,
    pub(super) reference: Option<Reference>,
}

/// A line across a panel.
pub(super) struct Reference {
    pub(super) value: f64,
    pub(super) label: String,
}

pub(super) struct Line {
    pub(super) class: &'static str,
    pub(super) curve: Curve,
    /// Down to zero.
    pub(super) is_filled: bool,
}

/// Milliseconds, and a value from there on.
pub(super) struct Curve(Vec<(f64, f64)>);

impl Curve {
    /// Samples that hold for `step` milliseconds each.
    pub(super) fn of(samples: &[(u64, f64)], step: f64) -> Self {
        let ends = |(ms, value): &(u64, f64)| [(*ms as f64, *value), (*ms as f64 + step, *value)];
        Self(samples.iter().flat_map(ends).collect())
    }

    /// The same with zero in between.
    pub(super) fn bars(samples: &[(u64, f64)], step: f64) -> Self {
        let bar = |(ms, value): &(u64, f64)| {
            let (from, to) = (*ms as f64, *ms as f64 + step);
            [(from, 0.0), (from, *value), (to, *value), (to, 0.0)]
        };
        Self(samples.iter().flat_map(bar).collect())
    }

    /// Values with straight lines between them.
    pub(super) fn points(points: impl Iterator<Item = (f64, f64)>) -> Self {
        Self(points.collect())
    }

    pub(super) fn moved(self, shift: f64) -> Self {
        Self(self.0.into_iter().map(|(ms, value)| (ms + shift, value)).collect())
    }

    pub(super) fn is_flat_zero(&self) -> bool {
        self.0.iter().all(|(_, value)| *value == 0.0)
    }

    fn peak(&self) -> f64 {
        self.0.iter().map(|(_, value)| *value).fold(0.0, f64::max)
    }

    fn within(&self, span: Span) -> impl Iterator<Item = (f64, f64)> {
        self.0.iter().copied().filter(move |(ms, _)| (span.from..=span.to).contains(ms))
    }
}

/// What the template takes.
#[derive(Serialize)]
struct Picture {
    label: &'static str,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    /// Top of the first panel, and bottom of the last.
    roof: f64,
    floor: f64,
    /// Where the phases' names are.
    names: f64,
    bands: Vec<Band>,
    ticks: Vec<Tick>,
    markers: Vec<Marker>,
    areas: Vec<Area>,
    legend: Vec<Entry>,
}

#[derive(Serialize)]
struct Area {
    title: String,
    /// The first one's title is along its axis.
    is_first: bool,
    roof: f64,
    floor: f64,
    height: f64,
    grid: Vec<Tick>,
    lines: Vec<Path>,
    reference: Option<Tick>,
}

#[derive(Serialize)]
struct Path {
    class: &'static str,
    points: String,
    /// The same down to zero, and back.
    under: Option<String>,
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

impl Drawing {
    /// With the phases and events of `result`.
    pub(super) fn svg(self, result: &Migration) -> Result<String> {
        let Span { from, to } = self.span;
        let x = |ms: f64| LEFT + (WIDTH - LEFT - RIGHT) * (ms.clamp(from, to) - from) / (to - from);
        let head = if self.legend.is_empty() { HEAD } else { HEAD + LEGEND };
        let (markers, rows) = markers(result, self.span, head, x);
        let roof = head + rows as f64 * ROW;
        let mut below = roof;
        let mut areas = Vec::new();
        for panel in self.panels {
            let is_first = areas.is_empty();
            let top = if is_first { below } else { below + BETWEEN };
            below = top + panel.height;
            areas.push(panel.area(is_first, top, self.span, x));
        }
        let (step, _) = scale(to - from, 8.0);
        let ticks = (0..)
            .map(|n| (from / step).ceil() * step + f64::from(n) * step)
            .take_while(|ms| *ms <= to)
            .map(|ms| Tick { at: x(ms), label: number(ms / 1000.0) })
            .collect();
        let picture = Picture {
            label: self.label,
            width: WIDTH,
            height: below + FOOT,
            left: LEFT,
            right: WIDTH - RIGHT,
            roof,
            floor: below,
            names: areas.first().map_or(roof, |area| area.floor) - 10.0,
            bands: bands(result, self.span, x),
            ticks,
            markers,
            areas,
            legend: entries(&self.legend),
        };
        let mut environment = Environment::new();
        environment.add_template("plot.svg", include_str!("plot.svg"))?;
        environment.add_filter("px", |number: f64| format!("{number:.1}"));
        Ok(environment.get_template("plot.svg")?.render(Serde(picture))?)
    }
}

impl Panel {
    fn area(self, is_first: bool, roof: f64, span: Span, x: impl Fn(f64) -> f64) -> Area {
        let peak = self.lines.iter().map(|line| line.curve.peak()).fold(self.unit / 1e6, f64::max);
        let reference = self.reference.filter(|reference| reference.value < peak * FAR);
        let highest = peak.max(reference.as_ref().map_or(0.0, |reference| reference.value));
        // Some room above a reference, for its label.
        let room = if reference.is_some() { 1.05 } else { 1.0 };
        let parts = (self.height / GRID).round().clamp(2.0, 5.0);
        let (step, top) = scale(highest * room / self.unit, parts);
        let y = |value: f64| roof + self.height * (1.0 - (value / self.unit).clamp(0.0, top) / top);
        let floor = roof + self.height;
        let lines = self.lines.iter().rev().filter_map(|line| {
            let points: Vec<_> = line.curve.within(span).map(|(ms, v)| (x(ms), y(v))).collect();
            let text = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>();
            let text = text.join(" ");
            let ((first, _), (last, _)) = (points.first()?, points.last()?);
            let under = line
                .is_filled
                .then(|| format!("{first:.1},{floor:.1} {text} {last:.1},{floor:.1}"));
            Some(Path { class: line.class, points: text, under })
        });
        Area {
            is_first,
            roof,
            floor,
            height: self.height,
            grid: (0..=(top / step).round() as u32)
                .map(|n| f64::from(n) * step)
                .map(|value| Tick { at: y(value * self.unit), label: number(value) })
                .collect(),
            // The first one is the last to be drawn, above the others.
            lines: lines.collect(),
            reference: reference.map(|at| Tick { at: y(at.value), label: at.label }),
            title: self.title,
        }
    }
}

fn bands(result: &Migration, span: Span, x: impl Fn(f64) -> f64) -> Vec<Band> {
    let phases = result.phases.iter();
    phases
        .filter(|phase| phase.end_ms >= span.from && phase.start_ms <= span.to)
        .map(|phase| {
            let (start, end) = (x(phase.start_ms), x(phase.end_ms));
            let title = title(result, phase.name);
            let width = end - start;
            let label = [&title, phase.name.title()]
                .into_iter()
                .find(|text| text.len() as f64 * LETTER < width)
                .unwrap_or_default()
                .to_owned();
            Band { class: class(phase.name), title, label, x: start, width }
        })
        .collect()
}

fn entries(legend: &[(&'static str, &'static str)]) -> Vec<Entry> {
    let mut x = LEFT;
    let mut entries = Vec::new();
    for &(class, label) in legend {
        entries.push(Entry { class, label, x, end: x + SAMPLE });
        x += SAMPLE + label.len() as f64 * LETTER + 34.0;
    }
    entries
}

/// Labels of events, in as many rows from `head` on as it takes for none to touch another.
fn markers(
    result: &Migration,
    span: Span,
    head: f64,
    x: impl Fn(f64) -> f64,
) -> (Vec<Marker>, usize) {
    let mut rows: Vec<f64> = Vec::new();
    let mut markers = Vec::new();
    let events = result.events.iter();
    for event in events.filter(|event| (span.from..=span.to).contains(&event.ms)) {
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
