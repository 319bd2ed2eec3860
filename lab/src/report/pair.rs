//! Two runs side by side.

use super::delays;
use super::format::{duration, megabits, percent, thousands};
use super::words;
use crate::result::{Migration, PhaseName};
use anyhow::Result;
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

/// A figure of both runs.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    first: String,
    second: String,
    /// How the second differs.
    change: String,
}

/// What a figure is written as.
type Written = fn(f64) -> String;
/// Where a figure is.
type Figure = fn(&Migration) -> Option<f64>;

/// All that is compared, in the order of the page.
const FIGURES: [(&str, Figure, Written); 15] = [
    ("before, Mbit/s", |run| rate(run, PhaseName::Before), megabits),
    ("warm-up, Mbit/s", |run| rate(run, PhaseName::Warmup), megabits),
    ("warm-up, of before", |run| run.relative(PhaseName::Warmup), percent),
    ("after, Mbit/s", |run| rate(run, PhaseName::After), megabits),
    ("flooded, Mbit/s", |run| Some(run.saturated?.before), megabits),
    ("flooded in the warm-up, of before", |run| run.saturated?.kept(), percent),
    ("service gap", |run| run.losses.map(|_| run.service_gap_ms), duration),
    ("downtime", |run| run.migration.downtime_ms.map(|ms| ms as f64), duration),
    ("gap beyond downtime, median", Migration::median_beyond_downtime, duration),
    ("latency p99 in the warm-up", |run| p99(run, PhaseName::Warmup), super::format::micros),
    ("latency p99 after", |run| p99(run, PhaseName::After), super::format::micros),
    ("datagrams lost", |run| Some(run.losses?.lost as f64), count),
    ("pages marked", |run| Some(run.dma.pages_marked as f64), count),
    ("memory sent, MiB", |run| Some(run.migration.ram_bytes as f64 / f64::from(1 << 20)), tenths),
    ("stale frames", |run| Some(run.integrity.stale? as f64), count),
];

fn rate(run: &Migration, name: PhaseName) -> Option<f64> {
    Some(run.phase(name)?.rx_bits_per_s)
}

fn p99(run: &Migration, name: PhaseName) -> Option<f64> {
    Some(run.phase(name)?.delays?.latency.p99_us)
}

fn count(value: f64) -> String {
    thousands(value.round() as u64)
}

fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

/// What is told of a run, and how it is called.
type Setting = (&'static str, fn(&Migration) -> String);

/// What both runs are, and how: the same in both is left out but for what they were.
const SETTINGS: [Setting; 10] = [
    ("strategy", |run| run.arrangement().into()),
    ("NIC", |run| run.nic.clone()),
    ("lab", |run| run.lab.to_string()),
    ("clock", |run| run.facts.lab_clock.map_or("-".into(), |clock| clock.to_string())),
    ("traffic", |run| run.traffic.kind.to_string()),
    ("marking", |run| run.marking.to_string()),
    ("outcome", |run| format!("{:?}", run.outcome).to_lowercase()),
    ("Godwit", |run| or_dash(&run.facts.revision)),
    ("QEMU built of", |run| or_dash(&run.facts.patches)),
    ("processor", |run| format!("{} × {}", run.facts.processors, run.facts.processor)),
];

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

fn rows([first, second]: [&Migration; 2]) -> Vec<Row> {
    let settings = SETTINGS.iter().map(|(name, of)| {
        let [first, second] = [of(first), of(second)];
        let change = if first == second { String::new() } else { "differs".into() };
        Row { name, first, second, change }
    });
    let figures = FIGURES.iter().filter_map(|(name, of, written)| {
        let (a, b) = (of(first), of(second));
        let text = |value: Option<f64>| value.map_or("-".into(), written);
        let change = a.zip(b).map(|(a, b)| change(a, b));
        (a.is_some() || b.is_some()).then(|| Row {
            name,
            first: text(a),
            second: text(b),
            change: change.unwrap_or_default(),
        })
    });
    settings.chain(figures).collect()
}

/// In hundredths of the first one.
fn change(first: f64, second: f64) -> String {
    match (first, second) {
        (a, b) if a == b => "=".into(),
        (0.0, _) => String::new(),
        (a, b) => format!("{:+.1}%", 100.0 * (b - a) / a),
    }
}

/// What makes the two figures ones of different things.
fn caveats([first, second]: [&Migration; 2]) -> Vec<String> {
    let mut caveats = Vec::new();
    if first.facts.lab_clock != second.facts.lab_clock {
        caveats.push(
            "The two runs are in different clocks: figures in this machine's time and in \
                      the lab's own do not compare."
                .into(),
        );
    }
    if first.traffic != second.traffic {
        caveats.push("The two runs were not sent the same traffic.".into());
    }
    let both = [("first", first), ("second", second)];
    for (name, run) in both {
        let warnings = words::warnings(run).into_iter();
        caveats.extend(warnings.map(|warning| format!("The {name} run: {warning}")));
    }
    caveats
}

/// For a terminal: what both runs were, and each figure of both.
#[must_use]
pub fn side_by_side(names: [&str; 2], runs: [&Migration; 2]) -> String {
    let rows = rows(runs);
    let widest = |of: fn(&Row) -> &str, name: &str| {
        rows.iter().map(|row| of(row).chars().count()).chain([name.chars().count()]).max()
    };
    let first = widest(|row| &row.first, names[0]).unwrap_or(0);
    let second = widest(|row| &row.second, names[1]).unwrap_or(0);
    let mut text: String = caveats(runs).iter().map(|caveat| format!("{caveat}\n\n")).collect();
    let title =
        Row { name: "", first: names[0].into(), second: names[1].into(), change: "change".into() };
    for row in std::iter::once(&title).chain(&rows) {
        let line = format!(
            "{:<35}{:>first$}  {:>second$}  {:>9}",
            row.name, row.first, row.second, row.change
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[derive(Serialize)]
struct Page<'a> {
    style: &'static str,
    names: [&'a str; 2],
    rows: Vec<Row>,
    caveats: Vec<String>,
    plots: [String; 2],
    zooms: [Option<String>; 2],
    explanation: &'static str,
}

/// A page with the same table, and both plots below one another on axes of the same length.
///
/// # Errors
/// A plot cannot be drawn.
pub fn page_of_two(names: [&str; 2], runs: [&Migration; 2]) -> Result<String> {
    let page = Page {
        style: super::page::STYLE,
        names,
        rows: rows(runs),
        caveats: caveats(runs),
        plots: [super::plot::svg(runs[0])?, super::plot::svg(runs[1])?],
        zooms: [super::plot::zoom(runs[0])?, super::plot::zoom(runs[1])?],
        explanation: delays::EXPLANATION,
    };
    let mut environment = Environment::new();
    environment.add_template("pair.html", include_str!("pair.html"))?;
    Ok(environment.get_template("pair.html")?.render(Serde(page))?)
}
