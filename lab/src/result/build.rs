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
pub(super) mod tests {
    use super::*;
    use crate::migration::{Check, Comparison, Pages, Plan};
    use crate::qmp::MigrationInfo;
    use crate::source::{DmaCounts, Gap, Received};

    /// 8 Mbit/s except for a gap.
    struct Even {
        gap: Option<Gap>,
    }

    impl Meter for Even {
        fn received(&self, from: Instant, to: Instant) -> Received {
            let dead = self.gap.map_or(Duration::ZERO, |gap| {
                gap.end.min(to).saturating_duration_since(gap.start.max(from))
            });
            let alive = (to - from) - dead;
            let bits = alive.as_secs_f64() * 8e6;
            Received { bits_per_s: bits / (to - from).as_secs_f64(), packets: bits / 8000.0 }
        }

        fn samples(&self, from: Instant, to: Instant, step: Duration) -> Vec<(Instant, f64)> {
            let count = ((to - from).as_millis() / step.as_millis()) as u32;
            (0..count).map(|n| (from + step * n, 8e6)).collect()
        }

        fn offered(&self, _: Instant, _: Instant) -> Option<f64> {
            Some(8e6)
        }

        fn longest_gap(&self, _: Instant, _: Instant) -> Option<Gap> {
            self.gap
        }

        fn sent(&self) -> Option<u64> {
            Some(5000)
        }

        fn losses(&self) -> Option<Losses> {
            Some(Losses { lost: 7, in_gap: 7, ..Losses::default() })
        }

        fn dma(&self, from: Instant, to: Instant) -> Option<DmaCounts> {
            Some(DmaCounts { pages_marked: (to - from).as_millis() as u64, ..DmaCounts::default() })
        }
    }

    fn record(strategy: Strategy) -> (Record, Even) {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let timeline = Timeline {
            begin,
            start: at(1000),
            logging_on: Some(at(1100)),
            cancelled: None,
            detached: Some(at(3000)),
            resumed: Some(at(3200)),
            attached: Some(at(3500)),
            logging_off: Some(at(3201)),
            over: Some(at(3250)),
            end: at(5000),
        };
        let ram =
            RamStatistics { transferred: 1 << 20, dirty_sync_count: 4, ..RamStatistics::default() };
        let info = MigrationInfo {
            status: Some("completed".into()),
            total_time: Some(2200),
            downtime: Some(150),
            ram: Some(ram),
            error_desc: None,
        };
        let plan = Plan {
            strategy,
            before: Duration::from_secs(1),
            warmup: Duration::from_secs(2),
            after: Duration::from_secs(1),
            bandwidth: 1 << 24,
            cancel_at: None,
        };
        let check = Some(Check { checked: 5000, stale: 0, while_logging: Some(1500) });
        let mut port = Map::new();
        port.insert("ack-ms".into(), 12.into());
        port.insert("quiesce-ms".into(), (-1).into());
        let outcome = Outcome::Completed;
        let record = Record {
            plan,
            outcome,
            error: None,
            timeline,
            info,
            ports: vec![port],
            check,
            comparison: None,
            dma: None,
            effort: None,
            copied: Vec::new(),
            looks: Vec::new(),
        };
        (record, Even { gap: Some(Gap { start: at(2990), end: at(3600), lost: 610 }) })
    }

    fn setting() -> Setting {
        let traffic =
            Traffic { kind: TrafficKind::Udp, paced_bits_per_s: Some(8e6), ip_length: Some(1400) };
        Setting {
            marking: Marking::Auto,
            nic: "e1000e".into(),
            standby: false,
            lab: LabKind::Nested,
            guest: GuestKind::Godwit,
            application: "net-app".into(),
            traffic,
            saturated: Some(Saturated { before: 16e6, ..Saturated::default() }),
            facts: Facts::default(),
        }
    }

    /// A warm one that completed.
    pub(in crate::result) fn migration() -> Migration {
        let (record, meter) = record(Strategy::Warm);
        build(&record, &[&meter], setting())
    }

    fn times(result: &Migration) -> Vec<(&'static str, f64, f64)> {
        result.phases.iter().map(|p| (p.name.title(), p.start_ms, p.end_ms)).collect()
    }

    #[test]
    fn a_warm_migration_has_four_phases() {
        let (record, meter) = record(Strategy::Warm);
        let result = build(&record, &[&meter], setting());
        assert_eq!(
            times(&result),
            [
                ("before", 0.0, 1000.0),
                ("warm-up", 1000.0, 3000.0),
                ("gap", 3000.0, 3600.0),
                ("after", 3600.0, 5000.0)
            ]
        );
        assert_eq!(result.phase(PhaseName::Gap).unwrap().rx_packets, 0);
        assert!(result.relative(PhaseName::Warmup).unwrap() > 0.99);
        assert_eq!(result.service_gap_ms, 610.0);
        assert_eq!((result.migration.ack_ms, result.migration.detach_ms), (Some(12.0), None));
        assert_eq!(result.migration.attach_ms, Some(300.0));
        assert_eq!((result.dma.pages_marked, result.dma.pages_marked_before), (4000, Some(1000)));
        assert_eq!(result.samples.len(), 50);
    }

    /// What is said of the traffic in all is the first interface's.
    #[test]
    fn several_interfaces_are_listed() {
        let (mut record, meter) = record(Strategy::Warm);
        let [all, first, second] = [90, 60, 40].map(|written| Pages { written, stale: 1 });
        let by_nic = vec![first, second];
        record.comparison = Some(Comparison { memory: 400, differing: 2, all, by_nic });
        assert!(build(&record, &[&meter], setting()).interfaces.is_empty());
        let other = Even { gap: None };
        let result = build(&record, &[&meter, &other], setting());
        let [nic, nic1] = &result.interfaces[..] else { panic!("{:?}", result.interfaces) };
        assert_eq!((&*nic.name, &*nic1.name), ("nic", "nic1"));
        assert_eq!((nic.service_gap_ms, nic1.service_gap_ms), (610.0, 0.0));
        assert_eq!((nic.received_after, nic1.received_after), (1400, 1500));
        assert_eq!((nic.pages_written, nic1.pages_written), (Some(60), Some(40)));
        assert_eq!((result.service_gap_ms, result.integrity.pages_written), (610.0, Some(90)));
        let integrity = result.integrity;
        assert_eq!((integrity.memory_pages, integrity.memory_differing), (Some(400), Some(2)));
        assert_eq!((nic1.sent, nic1.received), (Some(5000), Some(4993)));
    }

    #[test]
    fn a_gap_that_is_not_the_switchovers_ends_no_phase() {
        let (record, mut meter) = record(Strategy::Warm);
        for (start, end) in [(100, 900), (4000, 4900)] {
            let at = |ms| record.timeline.begin + Duration::from_millis(ms);
            meter.gap = Some(Gap { start: at(start), end: at(end), lost: 1 });
            let result = build(&record, &[&meter], setting());
            assert_eq!(times(&result)[2], ("gap", 3000.0, 3500.0), "{start} to {end}");
        }
    }

    #[test]
    fn a_cold_migrations_warm_up_ends_at_the_switchover() {
        let (mut record, meter) = record(Strategy::Cold);
        record.timeline.detached = Some(record.timeline.start + Duration::from_millis(50));
        let result = build(&record, &[&meter], setting());
        assert_eq!(times(&result)[1..3], [("warm-up", 1000.0, 3050.0), ("gap", 3050.0, 3600.0)]);
        assert_eq!(result.migration.detach_ms, Some(50.0));
    }

    #[test]
    fn a_cancelled_migration_has_no_gap_unless_the_nic_left() {
        let (mut record, mut meter) = record(Strategy::Warm);
        record.outcome = Outcome::Cancelled;
        record.timeline.resumed = None;
        record.timeline.cancelled = Some(record.timeline.begin + Duration::from_millis(2500));
        let with_gap = build(&record, &[&meter], setting());
        assert_eq!(with_gap.phases.len(), 4);
        record.timeline.detached = None;
        meter.gap = None;
        let result = build(&record, &[&meter], setting());
        assert_eq!(
            times(&result),
            [("before", 0.0, 1000.0), ("warm-up", 1000.0, 2500.0), ("after", 2500.0, 5000.0)]
        );
        assert_eq!(result.service_gap_ms, 0.0);
    }

    /// Nothing checked is not nothing stale.
    #[test]
    fn what_nobody_checked_is_null() {
        let (mut record, meter) = record(Strategy::Warm);
        record.check = None;
        let result = build(&record, &[&meter], setting());
        let json = serde_json::to_value(&result).unwrap();
        assert_eq!(json["integrity"]["stale"], Value::Null);
        assert_eq!(json["integrity"]["buffers_checked"], Value::Null);
        assert!(!result.integrity.is_stale() && result.integrity.check().is_none());
    }

    /// The names scripts depend on.
    #[test]
    fn the_json_is_the_contract() {
        let (record, meter) = record(Strategy::Warm);
        let result = build(&record, &[&meter], setting());
        let json = serde_json::to_value(&result).unwrap();
        for name in ["strategy", "marking", "nic", "lab", "guest", "outcome", "service_gap_ms"] {
            assert!(json.get(name).is_some(), "{name}");
        }
        for (object, names) in [
            (&json["phases"][0], "name start_ms end_ms rx_bits_per_s rx_packets"),
            (
                &json["migration"],
                "total_ms downtime_ms ram_bytes passes logging_ms ack_ms detach_ms attach_ms",
            ),
            (&json["dma"], "pages_marked pages_caught_up buffers_received"),
            (&json["integrity"], "buffers_checked stale"),
        ] {
            for name in names.split(' ') {
                assert!(object.get(name).is_some(), "{name} in {object}");
            }
        }
        let names: Vec<_> = json["phases"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
        assert_eq!(names, ["before", "warmup", "gap", "after"]);
        assert_eq!((&json["outcome"], &json["strategy"]), (&"completed".into(), &"warm".into()));
        assert_eq!(json["samples"][1][0], 100);
        assert_eq!(serde_json::from_value::<Migration>(json).unwrap(), result);
    }
}
