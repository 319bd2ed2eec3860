//! The table on the terminal.

use super::format::{duration, megabits, percent, service_gap, thousands};
use super::series::Series;
use super::words::{self, Words};
use super::{comparison, delays};
use crate::choices::ClockKind;
use crate::migration::Outcome;
use crate::result::{Interface, Migration, PhaseName};
use crate::source::Losses;
use std::borrow::Cow;
use std::fmt::Write;

/// The result as a table by phase, and the figures beside it.
pub fn table(result: &Migration) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_table(&mut text, result);
    text
}

fn write_table(out: &mut String, result: &Migration) -> std::fmt::Result {
    for warning in words::warnings(result) {
        writeln!(out, "{warning}\n")?;
    }
    writeln!(
        out,
        "{:<9}{:>9}{:>9}{:>15}{:>11}{:>15}{:>12}",
        "phase",
        "from",
        "length",
        "received",
        "of before",
        Words::of(result).packets,
        "others' CPU"
    )?;
    for phase in &result.phases {
        let share = result.relative(phase.name).map(percent);
        writeln!(
            out,
            "{:<9}{:>9}{:>9}{:>8} Mbit/s{:>11}{:>15}{:>12}",
            phase.name.title(),
            format!("{:.2} s", phase.start_ms / 1000.0),
            duration(phase.end_ms - phase.start_ms),
            megabits(phase.rx_bits_per_s),
            share.unwrap_or_default(),
            thousands(phase.rx_packets),
            phase.taken_by_others.map(percent).unwrap_or_default()
        )?;
    }
    writeln!(out)?;
    for (name, value) in headlines(result) {
        writeln!(out, "{:<19} {value}", format!("{name}:"))?;
    }
    comparison::write(out, result)?;
    let series = Series::of(result).lines();
    if !series.is_empty() {
        writeln!(out, "\nThe migrations of this guest:\n{}", series.join("\n"))?;
    }
    Ok(())
}

/// The figures that matter, each with its name.
pub(super) fn headlines(result: &Migration) -> Vec<(Cow<'static, str>, String)> {
    let figures = &result.migration;
    let ms = |value: Option<f64>| value.map_or("-".into(), duration);
    let mut lines = Vec::new();
    let outcome = match (result.outcome, &result.error) {
        (Outcome::Completed, _) => "completed".to_owned(),
        (Outcome::Cancelled, _) => "cancelled, the guest goes on where it was".into(),
        (Outcome::Failed, error) => {
            format!(
                "failed, the guest goes on where it was: {}",
                error.as_deref().unwrap_or("no reason was given")
            )
        }
    };
    lines.push(("outcome".into(), outcome));
    lines.extend(throughput(result));
    let downtime = figures.downtime_ms.map_or("-".into(), |ms| duration(ms as f64));
    let lost = result.losses.map(losses);
    lines.push((
        "service gap".into(),
        format!("{} (downtime {downtime}){}", service_gap(result), lost.unwrap_or_default()),
    ));
    let delays = delays::lines(result).into_iter();
    lines.extend(delays.map(|(name, value)| (name.into(), value)));
    if let Some(transfer) = &result.transfer {
        lines.push((
            "transfer".into(),
            format!(
                "{} bytes to the guest and back over one connection, all right; SHA-256 {}",
                thousands(transfer.bytes),
                transfer.sha256
            ),
        ));
    }
    if let Some(client) = result.client {
        lines
            .push(("client".into(), format!("run {} times, and succeeded each time", client.runs)));
    }
    if let Some(baseline) = result.baseline {
        lines.push((
            "cold baseline".into(),
            format!(
                "{} Mbit/s ({} of before) in its warm-up, service gap {}",
                megabits(baseline.warmup_bits_per_s),
                percent(baseline.warmup_bits_per_s / baseline.before_bits_per_s.max(1.0)),
                duration(baseline.service_gap_ms)
            ),
        ));
    }
    for interface in &result.interfaces {
        lines.push((interface.name.clone().into(), of_interface(interface)));
    }
    lines.push(("integrity".into(), integrity(result)));
    lines.push((
        "marking".into(),
        format!(
            "{} pages marked on reception and {} by catch-up, {} buffers received; before the \
             migration {} pages marked",
            thousands(result.dma.pages_marked),
            thousands(result.dma.pages_caught_up),
            thousands(result.dma.buffers_received),
            result.dma.pages_marked_before.map_or("an unknown number of".into(), thousands)
        ),
    ));
    if let Some(others) = result.facts.taken_by_others {
        lines.push((
            "this machine".into(),
            format!(
                "{} of its processors' time went to others{}",
                percent(others),
                match result.facts.lab_clock {
                    Some(ClockKind::Virtual) => ", which the lab's own clock does not see",
                    _ => "",
                }
            ),
        ));
    }
    lines.push((
        "migration".into(),
        format!(
            "{}, {:.1} MiB in {} passes over memory, at most {:.0} MiB/s in warm-up; logging {}, \
             acknowledged after {}, detach {}, attach {}",
            figures.total_ms.map_or("-".into(), |ms| duration(ms as f64)),
            figures.ram_bytes as f64 / f64::from(1 << 20),
            figures.passes,
            figures.warmup_bandwidth as f64 / f64::from(1 << 20),
            ms(figures.logging_ms),
            ms(figures.ack_ms),
            ms(figures.detach_ms),
            ms(figures.attach_ms)
        ),
    ));
    lines
}

/// What the guest takes, before and in the warm-up: of a load that is paced, and of a flood.
fn throughput(result: &Migration) -> Vec<(Cow<'static, str>, String)> {
    let rate = |name| result.phase(name).map(|phase| phase.rx_bits_per_s);
    let mut lines = Vec::new();
    if let Some(before) = rate(PhaseName::Before) {
        let saturated = result.saturated.map(|saturated| saturated.before);
        let paced = result.traffic.paced_bits_per_s;
        let part = paced.zip(saturated).map(|(paced, saturated)| {
            format!(", paced at {:.0}% of saturated", 100.0 * paced / saturated.max(1.0))
        });
        let name = if paced.is_some() { "paced" } else { "throughput" };
        let kind = Words::of(result).traffic;
        let kept = kept(before, rate(PhaseName::Warmup));
        lines.push((name.into(), format!("{kept}; {kind}{}", part.unwrap_or_default())));
    }
    if let Some(saturated) = result.saturated {
        lines.push(("saturated".into(), kept(saturated.before, saturated.warmup)));
    }
    lines
}

fn kept(before: f64, warmup: Option<f64>) -> String {
    let warmup = warmup.map(|warmup| {
        let share = percent(warmup / before.max(1.0));
        format!(", {} Mbit/s ({share}) in the warm-up", megabits(warmup))
    });
    format!("{} Mbit/s before{}", megabits(before), warmup.unwrap_or_default())
}

fn losses(losses: Losses) -> String {
    let mut text = format!(", {} datagrams lost in it", thousands(losses.in_gap));
    if losses.lost > losses.in_gap {
        text += &format!(", of {} lost in all", thousands(losses.lost));
    }
    let Losses { duplicates, reordered, .. } = losses;
    text + &format!("; {} came twice, {} out of order", thousands(duplicates), thousands(reordered))
}

fn of_interface(interface: &Interface) -> String {
    let datagrams = interface.sent.zip(interface.lost).map_or_else(String::new, |(sent, lost)| {
        format!("{} datagrams sent, {} lost; ", thousands(sent), thousands(lost))
    });
    let pages = interface.pages_stale.zip(interface.pages_written).map(|(stale, written)| {
        format!("; {} stale of {} pages its NIC wrote", thousands(stale), thousands(written))
    });
    format!(
        "{datagrams}longest gap {}; {} received afterwards{}",
        duration(interface.service_gap_ms),
        thousands(interface.received_after),
        pages.unwrap_or_default()
    )
}

fn integrity(result: &Migration) -> String {
    let integrity = &result.integrity;
    let logged = integrity
        .while_logging
        .map(|count| format!(", {} of them received while logging was on", thousands(count)));
    let pages = integrity.pages_stale.zip(integrity.pages_written).map(|(stale, written)| {
        let writer = if result.interfaces.is_empty() { "the NIC" } else { "the NICs" };
        format!("; {} stale of {} pages {writer} wrote", thousands(stale), thousands(written))
    });
    let frames = match integrity.check() {
        Some((stale, checked)) => {
            format!("{} stale of {} frames checked", thousands(stale), thousands(checked))
        }
        None => "nothing was checked in the guest".into(),
    };
    let memory = integrity.memory_differing.zip(integrity.memory_pages);
    let memory = memory.map(|(differing, pages)| {
        let (differing, pages) = (thousands(differing), thousands(pages));
        format!("; {differing} of all {pages} pages of memory differ")
    });
    [Some(frames), logged, pages, memory].into_iter().flatten().collect()
}

/// One sentence that says what came out.
pub(super) fn verdict(result: &Migration) -> String {
    let warmup = result.relative(PhaseName::Warmup).map(percent);
    let saturated = result.saturated.and_then(|saturated| saturated.kept());
    match (result.outcome, warmup) {
        (Outcome::Completed, Some(warmup)) => format!(
            "While it was being migrated, the guest kept {warmup} of its throughput{}; longest \
             time without traffic: {}.",
            saturated.map_or(String::new(), |kept| format!(
                " when paced, {} when flooded",
                percent(kept)
            )),
            service_gap(result)
        ),
        (Outcome::Completed, None) => "The guest was migrated.".into(),
        (Outcome::Cancelled, _) => {
            "The migration was cancelled; the guest goes on where it was.".into()
        }
        (Outcome::Failed, _) => "The migration failed; the guest goes on where it was.".into(),
    }
}
