//! From a record and a measurement to a result.

use super::*;
use crate::addresses::interface_name;
use crate::migration::{Look, Record, Timeline};
use crate::qmp::RamStatistics;
use crate::source::{Counter, Meter};
use std::time::{Duration, Instant};

/// Length of a sample.
const SAMPLE: Duration = Duration::from_millis(100);
/// Length of a sample around the gap.
const FINE: Duration = Duration::from_millis(10);
/// What is around the gap, on either side.
const AROUND: Duration = Duration::from_millis(300);

/// What the record does not know.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The guest's marking policy.
    pub marking: Marking,
    /// The NICs' model.
    pub nic: String,
    /// Whether the NIC had a virtio-net standby.
    pub standby: bool,
    /// Where the machines ran.
    pub lab: LabKind,
    /// What ran in them.
    pub guest: GuestKind,
    /// And which application of it.
    pub application: String,
    /// What was driven at it.
    pub traffic: Traffic,
    /// What it takes when flooded.
    pub saturated: Option<Saturated>,
    /// The machine.
    pub facts: Facts,
}

/// Puts a result together, from the measurements at each of the guest's interfaces.
pub fn build(record: &Record, meters: &[&dyn Meter], setting: Setting) -> Migration {
    let timeline = &record.timeline;
    let meter = meters[0];
    let ms = |at: Instant| milliseconds(at.saturating_duration_since(timeline.begin));
    let phases = cut(record, meter)
        .into_iter()
        .map(|(name, from, to)| {
            let received = meter.received(from, to);
            Phase {
                name,
                start_ms: ms(from),
                end_ms: ms(to),
                rx_bits_per_s: received.bits_per_s,
                rx_packets: received.packets.round() as u64,
                offered_bits_per_s: meter.offered(from, to),
                delays: meter.timing(from, to).map(Delays::of),
                taken_by_others: others(&record.looks, from, to),
            }
        })
        .collect();
    // A guest without a probe stream says it on its console, for all the time since it booted.
    let dma = meter.dma(timeline.start, timeline.end).or(record.dma).unwrap_or_default();
    let idle = meter.dma(timeline.begin, timeline.start);
    let check = record.check;
    let pairs = |values: Vec<(Instant, f64)>| -> Vec<(u64, f64)> {
        values.into_iter().map(|(at, value)| (ms(at).round() as u64, value.round())).collect()
    };
    let rises = |counter| meter.rises(timeline.begin, timeline.end, SAMPLE, counter);
    Migration {
        schema_version: SCHEMA_VERSION,
        strategy: record.plan.strategy,
        marking: setting.marking,
        nic: setting.nic,
        standby: setting.standby,
        lab: setting.lab,
        guest: setting.guest,
        application: setting.application,
        outcome: record.outcome,
        error: record.error.clone(),
        cancel_at: record.plan.cancel_at,
        traffic: setting.traffic,
        phases,
        migration: figures(record),
        dma: Dma {
            pages_marked: dma.pages_marked,
            pages_caught_up: dma.pages_caught_up,
            buffers_received: dma.buffers_received,
            pages_marked_before: idle.map(|idle| idle.pages_marked),
        },
        integrity: Integrity {
            buffers_checked: check.map(|check| check.checked),
            stale: check.map(|check| check.stale),
            while_logging: check.and_then(|check| check.while_logging),
            memory_pages: record.comparison.as_ref().map(|compared| compared.memory),
            memory_differing: record.comparison.as_ref().map(|compared| compared.differing),
            pages_written: record.comparison.as_ref().map(|compared| compared.all.written),
            pages_stale: record.comparison.as_ref().map(|compared| compared.all.stale),
        },
        service_gap_ms: service_gap(timeline, meter),
        losses: meter.losses(),
        interfaces: match meters {
            [_] => Vec::new(),
            _ => (0..).zip(meters).map(|(index, meter)| interface(index, record, *meter)).collect(),
        },
        transfer: None,
        client: None,
        saturated: setting.saturated,
        events: events(timeline, ms),
        port: record.ports[0].clone(),
        facts: setting.facts,
        samples: pairs(meter.samples(timeline.begin, timeline.end, SAMPLE)),
        gap_samples: pairs(around_the_gap(record, meter)),
        lost: rises(Counter::Lost)
            .into_iter()
            .map(|(at, rate)| (ms(at).round() as u64, (rate * SAMPLE.as_secs_f64()).round()))
            .filter(|(_, lost)| *lost > 0.0)
            .collect(),
        marked: pairs(rises(Counter::Marked)),
        copying: record.copied.iter().map(|(at, ram)| copying(ms(*at), ram)).collect(),
        command_lines: Vec::new(),
        baseline: None,
        comparisons: Vec::new(),
        second: None,
        series: Vec::new(),
    }
}

/// What others had of this machine's processors from the look that was nearest to one moment to
/// the one nearest to another.
fn others(looks: &[Look], from: Instant, to: Instant) -> Option<f64> {
    let nearest = |moment: Instant| {
        let away = |look: &&Look| (look.at.max(moment)) - (look.at.min(moment));
        looks.iter().min_by_key(away)
    };
    nearest(to)?.processors.others_since(nearest(from)?.processors)
}

fn interface(index: usize, record: &Record, meter: &dyn Meter) -> Interface {
    let timeline = &record.timeline;
    let (sent, lost) = (meter.sent(), meter.losses().map(|losses| losses.lost));
    let pages = record.comparison.as_ref().and_then(|compared| compared.by_nic.get(index));
    let over = timeline.attached.or(timeline.over).unwrap_or(timeline.start);
    Interface {
        name: interface_name(index).into(),
        sent,
        received: sent.zip(lost).map(|(sent, lost)| sent.saturating_sub(lost)),
        lost,
        service_gap_ms: service_gap(timeline, meter),
        received_after: meter.received(over, timeline.end).packets.round() as u64,
        pages_written: pages.map(|pages| pages.written),
        pages_stale: pages.map(|pages| pages.stale),
        port: record.ports.get(index).cloned().unwrap_or_default(),
    }
}

fn copying(ms: f64, ram: &RamStatistics) -> Copying {
    Copying {
        ms,
        remaining_bytes: ram.remaining,
        sent_bytes: ram.transferred,
        dirty_bytes_per_s: ram.dirty_pages_rate * ram.page_size,
        passes: ram.dirty_sync_count,
    }
}

/// Samples of hundredths of a second, where the NIC was away and somewhat longer.
fn around_the_gap(record: &Record, meter: &dyn Meter) -> Vec<(Instant, f64)> {
    let phases = cut(record, meter);
    let gap = phases.iter().find(|(name, ..)| *name == PhaseName::Gap);
    let Some((_, from, to)) = gap.filter(|_| meter.is_fine()) else { return Vec::new() };
    let Timeline { begin, end, .. } = record.timeline;
    let from = from.checked_sub(AROUND).unwrap_or(begin).max(begin);
    meter.samples(from, (*to + AROUND).min(end), FINE)
}

fn service_gap(timeline: &Timeline, meter: &dyn Meter) -> f64 {
    let gap = meter.longest_gap(timeline.begin, timeline.end);
    gap.map_or(0.0, |gap| milliseconds(gap.length()))
}

/// The phases, one after the other.
fn cut(record: &Record, meter: &dyn Meter) -> Vec<(PhaseName, Instant, Instant)> {
    let Timeline { begin, start, end, .. } = record.timeline;
    let over = record.timeline.over.unwrap_or(start);
    let departure = match (record.plan.strategy, record.timeline.resumed) {
        // The NIC is gone from the start: the copying is all the warm-up there is.
        (Strategy::Cold | Strategy::Failover, Some(resumed)) => {
            Some(resumed - Duration::from_millis(record.info.downtime.unwrap_or(0)))
        }
        _ => record.timeline.detached,
    };
    let mut cuts = vec![(PhaseName::Before, begin, start)];
    match departure {
        Some(departure) => {
            let back = record.timeline.attached.unwrap_or(end);
            // The longest gap may also be another, of a stream that loses something in any case.
            let gap = meter.longest_gap(begin, end);
            let gap = gap.filter(|gap| gap.start <= back && gap.end >= departure);
            let first = gap.map_or(back, |gap| gap.end).clamp(departure, end);
            cuts.push((PhaseName::Warmup, start, departure));
            cuts.push((PhaseName::Gap, departure, first));
            cuts.push((PhaseName::After, first, end));
        }
        None => {
            let stop = record.timeline.cancelled.unwrap_or(over).max(start);
            if stop > start {
                cuts.push((PhaseName::Warmup, start, stop));
            }
            cuts.push((PhaseName::After, stop, end));
        }
    }
    cuts
}

fn figures(record: &Record) -> Figures {
    let timeline = &record.timeline;
    let ram = record.info.ram.clone().unwrap_or_default();
    // The port's own figures are the exact ones: they do not pass through a console.
    let port =
        |name: &str| record.ports[0].get(name).and_then(Value::as_f64).filter(|ms| *ms >= 0.0);
    let between = |from: Option<Instant>, to: Option<Instant>| {
        Some(milliseconds(to?.saturating_duration_since(from?)))
    };
    Figures {
        total_ms: record.info.total_time,
        downtime_ms: record.info.downtime,
        ram_bytes: ram.transferred,
        passes: ram.dirty_sync_count,
        warmup_bandwidth: record.plan.bandwidth,
        logging_ms: port("logging-ms"),
        ack_ms: port("ack-ms"),
        detach_ms: port("quiesce-ms").or_else(|| match record.plan.strategy {
            Strategy::Cold => between(Some(timeline.start), timeline.detached),
            _ => None,
        }),
        attach_ms: between(timeline.resumed, timeline.attached),
    }
}

fn events(timeline: &Timeline, ms: impl Fn(Instant) -> f64) -> Vec<Event> {
    let moments = [
        ("migration starts", Some(timeline.start)),
        ("marking on", timeline.logging_on),
        ("cancelled", timeline.cancelled),
        ("NIC quiet", timeline.detached),
        ("runs on destination", timeline.resumed),
        ("NIC attached", timeline.attached),
        ("marking off", timeline.logging_off),
    ];
    let mut events: Vec<Event> = moments
        .into_iter()
        .filter_map(|(name, at)| Some(Event { name: name.into(), ms: ms(at?) }))
        .collect();
    events.sort_by(|a, b| a.ms.total_cmp(&b.ms));
    events
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

#[cfg(test)]
pub(super) mod tests;
