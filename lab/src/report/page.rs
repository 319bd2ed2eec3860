//! The page: everything about a run in one file that needs no other.

use super::format::{duration, megabits, percent, service_gap, thousands};
use super::place;
use super::series::Series;
use super::table::{headlines, verdict};
use super::words::{self, Words};
use super::{comparison, delays, plot};
use crate::result::{Facts, Migration, headline};
use anyhow::Result;
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;
use std::borrow::Cow;

/// Of all pages: light and dark, on a phone and on paper.
pub(super) const STYLE: &str = include_str!("page.css");

#[derive(Serialize)]
struct Page<'a> {
    style: &'static str,
    title: &'static str,
    explanation: String,
    series: Series,
    runs: Vec<Run>,
    machine: Vec<(&'a str, String)>,
    setup: [(&'a str, String); 5],
    /// Name, and how it was started.
    commands: Vec<(&'a str, String)>,
    /// Paths from here.
    files: &'a [String],
    data: &'a str,
}

#[derive(Serialize)]
struct Run {
    warnings: Vec<String>,
    verdict: String,
    tiles: Vec<Tile>,
    svg: String,
    caption: String,
    /// The gap from near by.
    zoom: Option<String>,
    delays: Delays,
    compared: Option<Compared>,
    rows: Vec<Row>,
    /// What the rows count.
    packets: &'static str,
    headlines: Vec<(Cow<'static, str>, String)>,
}

#[derive(Serialize)]
struct Delays {
    columns: [&'static str; delays::COLUMNS],
    rows: Vec<[String; delays::COLUMNS]>,
    explanation: &'static str,
}

#[derive(Serialize)]
struct Compared {
    columns: [&'static str; comparison::COLUMNS],
    rows: Vec<[String; comparison::COLUMNS]>,
    introduction: String,
    remarks: Vec<String>,
}

#[derive(Serialize)]
struct Tile {
    value: String,
    name: &'static str,
    /// `good`, `bad`, or nothing.
    mood: &'static str,
}

#[derive(Serialize)]
struct Row {
    phase: &'static str,
    from: String,
    length: String,
    received: String,
    share: String,
    offered: String,
    others: String,
    packets: String,
}

/// Version and kind of the QEMU that ran the machines.
fn qemu(facts: &Facts) -> String {
    let kind = facts.qemu_kind.map_or(String::new(), |kind| format!(" ({kind})"));
    facts.qemu.clone() + &kind
}

/// Renders a result, with links to `files`.
pub(super) fn html(result: &Migration, files: &[String]) -> Result<String> {
    let mut runs = vec![run(result)?];
    if let Some(second) = &result.second {
        runs.push(run(second)?);
    }
    let facts = &result.facts;
    let share = |part: f64| format!("{} of the processors' time", percent(part));
    let machine = [
        ("processor", format!("{} × {}", facts.processors, facts.processor)),
        ("memory", format!("{} MiB", thousands(facts.memory_mib))),
        ("kernel", facts.kernel.clone()),
        ("Godwit", facts.revision.clone()),
        ("QEMU", qemu(facts)),
        ("built of", facts.patches.clone()),
        ("lab's host kernel", facts.host_kernel.clone()),
        ("lab's accelerator", facts.lab_accelerator.clone()),
        ("lab's clock", facts.lab_clock.map_or(String::new(), |clock| clock.to_string())),
        ("taken by others", facts.taken_by_others.map_or("unknown".into(), share)),
        ("command", facts.command.clone()),
    ];
    let machine: Vec<_> = machine.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let setup = [
        ("guest", result.guest.to_string()),
        ("lab", result.lab.to_string()),
        ("NIC", result.nic.clone()),
        ("strategy", result.arrangement().into()),
        ("marking policy", result.marking.to_string()),
    ];
    let mut environment = Environment::new();
    environment.add_template("page.html", include_str!("page.html"))?;
    let lines = result.command_lines.iter();
    let commands = lines.map(|line| (&*line.machine, line.for_shell())).collect();
    let page = Page {
        style: STYLE,
        title: words::title(result),
        explanation: words::explanation(result),
        series: Series::of(result),
        runs,
        machine,
        setup,
        commands,
        files,
        data: place::RESULT,
    };
    Ok(environment.get_template("page.html")?.render(Serde(page))?)
}

fn run(result: &Migration) -> Result<Run> {
    use crate::result::PhaseName::Warmup;
    let mut tiles = Vec::new();
    let mut tile = |name, value: String, good: Option<bool>| {
        let mood = good.map_or("", |good| if good { "good" } else { "bad" });
        tiles.push(Tile { value, name, mood });
    };
    if let Some(share) = result.relative(Warmup) {
        let good = share >= headline::PACED;
        tile("of paced throughput kept in the warm-up", percent(share), Some(good));
    }
    if let Some(share) = result.saturated.and_then(|saturated| saturated.kept()) {
        let good = share >= headline::SATURATED;
        tile("of saturated throughput kept in the warm-up", percent(share), Some(good));
    }
    if let Some(baseline) = result.baseline {
        let share = baseline.warmup_bits_per_s / baseline.before_bits_per_s.max(1.0);
        tile("with the NIC taken away at the start (cold)", percent(share), None);
    }
    tile("service gap", service_gap(result), None);
    if let Some(ms) = result.migration.downtime_ms {
        tile("downtime", duration(ms as f64), None);
    }
    if let Some((stale, checked)) = result.integrity.check() {
        let value = format!("{} / {}", thousands(stale), thousands(checked));
        tile("stale of the frames checked", value, Some(checked > 0 && stale == 0));
    }
    if let Some(saturated) = result.saturated {
        tile("Mbit/s the guest takes when flooded", megabits(saturated.before), None);
    }
    let rows = result
        .phases
        .iter()
        .map(|phase| Row {
            phase: phase.name.title(),
            from: format!("{:.2} s", phase.start_ms / 1000.0),
            length: duration(phase.end_ms - phase.start_ms),
            received: megabits(phase.rx_bits_per_s),
            share: result.relative(phase.name).map_or(String::new(), percent),
            offered: phase.offered_bits_per_s.map_or(String::new(), megabits),
            others: phase.taken_by_others.map_or(String::new(), percent),
            packets: thousands(phase.rx_packets),
        })
        .collect();
    Ok(Run {
        warnings: words::warnings(result),
        verdict: verdict(result),
        tiles,
        svg: plot::svg(result)?,
        caption: plot::caption(result),
        zoom: plot::zoom(result)?,
        delays: Delays {
            columns: delays::TITLES,
            rows: delays::rows(result),
            explanation: delays::EXPLANATION,
        },
        compared: (!result.comparisons.is_empty()).then(|| Compared {
            columns: comparison::TITLES,
            rows: comparison::rows(result),
            introduction: comparison::introduction(result),
            remarks: comparison::remarks(result),
        }),
        rows,
        packets: Words::of(result).packets,
        // These have a table of their own.
        headlines: headlines(result)
            .into_iter()
            .filter(|(name, _)| !delays::NAMES.contains(&&**name))
            .collect(),
    })
}
