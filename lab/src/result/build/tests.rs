//! Results of records and measurements that are made up.

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
