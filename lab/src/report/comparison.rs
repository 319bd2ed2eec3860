//! The strategies side by side: what the guest receives while each copies its memory.

use super::delays;
use super::format::{duration, megabits, percent, thousands};
use crate::choices::{GuestKind, Strategy};
use crate::migration::Outcome;
use crate::result::{Migration, PhaseName};
use std::fmt::Write;

/// Bytes of an IP packet, where only the stream is known that they make up.
const TCP_SEGMENT: usize = 1500;

/// Columns of the table.
pub(super) const COLUMNS: usize = 10;

/// Their titles. Rates are in Mbit/s, those in a warm-up; what is before one is without a
/// migration.
pub(super) const TITLES: [&str; COLUMNS] = [
    "in the warm-up",
    "paced, Mbit/s",
    "of before",
    "flooded, Mbit/s",
    "of before",
    "latency p99",
    "service gap",
    "downtime",
    "lost in all",
    "stale",
];

/// The table's rows: the migration itself first.
pub(super) fn rows(result: &Migration) -> Vec<[String; COLUMNS]> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    std::iter::once(result)
        .chain(&result.comparisons)
        .map(|run| {
            [
                run.arrangement().to_owned(),
                or_dash(paced(run).map(megabits)),
                or_dash(run.relative(PhaseName::Warmup).map(percent)),
                or_dash(flooded(run).map(megabits)),
                or_dash(run.saturated.and_then(|saturated| saturated.kept()).map(percent)),
                or_dash(delays::p99_of_warmup(run)),
                duration(run.service_gap_ms),
                or_dash(run.migration.downtime_ms.map(|ms| duration(ms as f64))),
                or_dash(run.losses.map(|losses| thousands(losses.lost))),
                or_dash(run.integrity.stale.map(thousands)),
            ]
        })
        .collect()
}

/// What is compared.
const INTRODUCTION: &str = "Warm keeps the NIC while memory is copied, the warm-up; failover gives \
    it up at the start and goes on with a virtio-net standby; cold gives it up and goes on with \
    nothing.";

/// Where Linux is beside Godwit.
const LINUX: &str = " The first are Godwit's; Linux is the lab's kernel with its own drivers of \
    NIC and standby (net_failover), in twice the memory, and a program with one blocking socket.";

/// What is compared, in words.
pub(super) fn introduction(result: &Migration) -> String {
    let has_linux = result.comparisons.iter().any(|other| other.guest == GuestKind::Linux);
    INTRODUCTION.to_owned() + if has_linux { LINUX } else { "" }
}

/// What the figures mean, a sentence or two each.
pub(super) fn remarks(result: &Migration) -> Vec<String> {
    let ours = result.arrangement();
    let mut remarks = Vec::new();
    for other in &result.comparisons {
        let theirs = other.arrangement();
        if other.outcome != Outcome::Completed {
            let reason = other.error.as_deref().unwrap_or("no reason was given");
            remarks.push(format!("The migration with {theirs} failed: {reason}."));
            continue;
        }
        if other.strategy == Strategy::Cold {
            continue;
        }
        if let (Some(a), Some(b), Some(sent)) =
            (paced(result), paced(other), result.traffic.paced_bits_per_s)
        {
            remarks.push(format!(
                "Paced, the guest is sent {} Mbit/s and cannot receive more: {ours} received \
                {:.1} times what {theirs} did, and {:.1} times would be everything.",
                megabits(sent),
                a / b,
                sent / b
            ));
        }
        if let (Some(a), Some(b)) = (flooded(result), flooded(other)) {
            let (ours_each, theirs_each) = (each(result), each(other));
            remarks.push(format!(
                "Flooded, the guest is sent as much as gets through: {ours} received {:.1} times \
                what {theirs} did. A datagram took {ours_each}, and {theirs_each}.",
                a / b
            ));
        }
    }
    remarks
}

/// Writes all of it for a terminal. Nothing, where nothing is compared.
pub(super) fn write(out: &mut String, result: &Migration) -> std::fmt::Result {
    if result.comparisons.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let titles = TITLES.map(str::to_owned);
    for row in std::iter::once(&titles).chain(&rows(result)) {
        let [name, cells @ ..] = row;
        write!(out, "{name:<21}")?;
        for (cell, title) in cells.iter().zip(&TITLES[1..]) {
            write!(out, "{cell:>width$}", width = title.len().max(8) + 2)?;
        }
        writeln!(out)?;
    }
    writeln!(out, "\n{}", introduction(result))?;
    for remark in remarks(result) {
        writeln!(out, "{remark}")?;
    }
    Ok(())
}

/// Bits a second of the paced load in the warm-up, if any.
fn paced(run: &Migration) -> Option<f64> {
    let rate = run.phase(PhaseName::Warmup)?.rx_bits_per_s;
    (rate > 0.0).then_some(rate)
}

fn flooded(run: &Migration) -> Option<f64> {
    run.saturated?.warmup.filter(|rate| *rate > 0.0)
}

/// What a datagram of the flood took: time, exits to the hypervisor where these were counted, and
/// the lab's host.
fn each(run: &Migration) -> String {
    let bits = run.traffic.ip_length.unwrap_or(TCP_SEGMENT) as f64 * 8.0;
    let per_s = flooded(run).unwrap_or(f64::INFINITY) / bits;
    let mut text = format!("{:.0} µs", 1e6 / per_s);
    let Some(saturated) = run.saturated else { return text };
    if let Some(exits) = saturated.warmup_exits_per_s {
        text += &format!(" and {:.2} exits", exits / per_s);
    }
    text += &format!(" with {}", run.arrangement());
    if let Some([one, other]) = saturated.warmup_processors {
        text += &format!(
            " (the two processors of the lab's host were busy {:.0}% and {:.0}% of the time)",
            100.0 * one,
            100.0 * other
        );
    }
    text
}
