mod documented;

use super::format::{duration, megabits, service_gap, thousands};
use super::*;
use crate::choices::{GuestKind, LabKind, Marking, Strategy, TrafficKind};
use crate::migration::Outcome;
use crate::result::{
    Baseline, CommandLine, Copying, Delays, Dma, Event, Facts, Figures, Integrity, Interface,
    Percentiles, Phase, PhaseName, Saturated, Traffic,
};
use crate::source::{Losses, Transfer};

/// A migration as it should be.
fn result() -> Migration {
    let delay = Percentiles { p50_us: 12.0, p99_us: 240.0, p999_us: 1800.0, count: 4089 };
    let phase = |name, start_ms, end_ms, rx_bits_per_s| Phase {
        name,
        start_ms,
        end_ms,
        rx_bits_per_s,
        rx_packets: 65_432,
        offered_bits_per_s: Some(75e6),
        delays: Some(Delays { latency: delay, jitter: Percentiles { p50_us: 3.0, ..delay } }),
        taken_by_others: None,
    };
    let event = |name: &str, ms| Event { name: name.into(), ms };
    Migration {
        schema_version: 1,
        strategy: Strategy::Warm,
        marking: Marking::Auto,
        nic: "e1000e".into(),
        standby: false,
        lab: LabKind::Nested,
        guest: GuestKind::Godwit,
        application: "net-app".into(),
        outcome: Outcome::Completed,
        error: None,
        cancel_at: None,
        traffic: Traffic {
            kind: TrafficKind::Udp,
            paced_bits_per_s: Some(75e6),
            ip_length: Some(1400),
        },
        phases: vec![
            phase(PhaseName::Before, 0.0, 10_000.0, 75e6),
            phase(PhaseName::Warmup, 10_000.0, 18_000.0, 73.9e6),
            phase(PhaseName::Gap, 18_000.0, 18_740.0, 0.0),
            phase(PhaseName::After, 18_740.0, 29_000.0, 75e6),
        ],
        migration: Figures {
            total_ms: Some(8300),
            downtime_ms: Some(140),
            ram_bytes: 123 << 20,
            passes: 9,
            warmup_bandwidth: 2 << 20,
            logging_ms: Some(8290.0),
            ack_ms: Some(3.5),
            detach_ms: Some(41.0),
            attach_ms: Some(210.0),
        },
        dma: Dma {
            pages_marked: 51_000,
            pages_caught_up: 4100,
            buffers_received: 180_000,
            pages_marked_before: Some(0),
        },
        integrity: Integrity {
            buffers_checked: Some(4096),
            stale: Some(0),
            while_logging: Some(4096),
            ..Integrity::default()
        },
        service_gap_ms: 741.0,
        losses: Some(Losses { lost: 4700, in_gap: 4632, duplicates: 3, reordered: 17 }),
        interfaces: Vec::new(),
        transfer: None,
        client: None,
        saturated: Some(Saturated { before: 131e6, warmup: Some(118e6), ..Saturated::default() }),
        events: vec![
            event("migration starts", 10_000.0),
            event("marking on", 10_060.0),
            event("NIC detached", 18_000.0),
            event("runs on destination", 18_400.0),
            event("NIC attached", 18_700.0),
        ],
        port: Default::default(),
        facts: Facts {
            processor: "A <Fast> & Good CPU".into(),
            qemu: "7.2.22".into(),
            qemu_kind: Some(crate::choices::QemuKind::Stock),
            ..Facts::default()
        },
        gap_samples: (1770..1904)
            .map(|n| (n * 10, if (1800..1874).contains(&n) { 0.0 } else { 75e6 }))
            .collect(),
        lost: vec![(18_000, 700.0), (18_100, 1400.0), (18_200, 1400.0), (18_300, 1132.0)],
        marked: (0..290)
            .map(|n| (n * 100, if (100..180).contains(&n) { 6400.0 } else { 0.0 }))
            .collect(),
        copying: (0..80)
            .map(|n| Copying {
                ms: 10_000.0 + 100.0 * n as f64,
                remaining_bytes: (60 << 20) - ((n % 27) << 21),
                sent_bytes: n << 21,
                dirty_bytes_per_s: (n / 27) * (18 << 20),
                passes: n / 27 + 1,
            })
            .collect(),
        command_lines: vec![CommandLine {
            machine: "source".into(),
            arguments: vec![
                "qemu-system-x86_64".into(),
                "-append".into(),
                "ip=10.0.2.15/24 x".into(),
            ],
        }],
        samples: (0..290)
            .map(|n| {
                (
                    n * 100,
                    if (181..187).contains(&n) { 0.0 } else { 75e6 + ((n * 37) % 11) as f64 * 2e5 },
                )
            })
            .collect(),
        baseline: Some(Baseline {
            strategy: Strategy::Cold,
            before_bits_per_s: 75e6,
            warmup_bits_per_s: 1e6,
            service_gap_ms: 5400.0,
        }),
        comparisons: Vec::new(),
        series: Vec::new(),
        second: None,
    }
}

#[test]
fn the_table_says_what_matters() {
    let text = table(&result());
    for expected in [
        "warm-up",
        "98.5%",
        "0 stale of 4,096 frames",
        "741 ms",
        "131.0 Mbit/s",
        "65,432",
        "1.00 Mbit/s (1.3% of before)",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    assert!(text.lines().all(|line| line.len() < 160), "{text}");
}

/// The same with failover and cold beside it.
fn compared() -> Migration {
    let other = |strategy, warmup, flooded: Option<f64>| {
        let mut other = Migration { strategy, baseline: None, ..result() };
        other.phases[1].rx_bits_per_s = warmup;
        other.saturated = flooded.map(|rate| Saturated {
            before: 131e6,
            warmup: Some(rate),
            warmup_exits_per_s: Some(900.0),
            warmup_processors: Some([0.8, 0.725]),
            ..Saturated::default()
        });
        other
    };
    let comparisons =
        vec![other(Strategy::Failover, 25e6, Some(20e6)), other(Strategy::Cold, 0.0, None)];
    Migration { comparisons, baseline: None, ..result() }
}

#[test]
fn strategies_are_compared_paced_and_flooded() {
    let text = table(&compared());
    for expected in [
        "3.0 times what failover did, and 3.0 times would be everything",
        "5.9 times what failover did. A datagram took 95 µs with warm, and 560 µs and 0.50 exits \
        with failover (the two processors of the lab's host were busy 80% and 72% of the time)",
        "cold gives it up",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let failover = text.lines().find(|line| line.starts_with("failover")).unwrap();
    let words: Vec<_> = failover.split_whitespace().collect();
    assert_eq!(words[1..5], ["25.0", "33.3%", "20.0", "15.3%"], "{failover}");
    assert!(!table(&result()).contains("failover"));
}

#[test]
fn a_comparison_that_failed_says_why() {
    let mut compared = compared();
    compared.comparisons[0].outcome = Outcome::Failed;
    compared.comparisons[0].error = Some("no route".into());
    let text = table(&compared);
    assert!(text.contains("failover failed: no route"), "{text}");
    assert!(!text.contains("times what failover"), "{text}");
}

#[test]
fn the_page_draws_and_explains_a_comparison() {
    let html = page::html(&compared(), &[]).unwrap();
    for expected in
        ["The strategies compared", "class=\"other second\"", "events shown are those of warm"]
    {
        assert!(html.contains(expected), "{expected}");
    }
    let alone = page::html(&result(), &[]).unwrap();
    assert!(!alone.contains("The strategies compared") && !alone.contains("other second\""));
}

#[test]
fn linux_beside_godwit_has_a_name_a_line_and_an_explanation() {
    let mut compared = compared();
    let of_linux = |other: &Migration| Migration { guest: GuestKind::Linux, ..other.clone() };
    let linux: Vec<_> = compared.comparisons.iter().map(of_linux).collect();
    compared.comparisons.truncate(1);
    compared.comparisons.extend(linux);
    let (text, html) = (table(&compared), page::html(&compared, &[]).unwrap());
    for expected in ["3.0 times what Linux, failover did", "(net_failover)"] {
        assert!(text.contains(expected) && html.contains(expected), "{expected} in\n{text}");
    }
    for name in ["failover ", "Linux, failover ", "Linux, cold "] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} in\n{text}");
    }
    assert!(html.contains("class=\"other third\""), "{html}");
}

/// What is no datagram, and not received, is not called so.
#[test]
fn figures_are_called_what_they_are() {
    let of = |kind: TrafficKind, strategy| {
        let traffic = Traffic { kind, ..result().traffic };
        let mut result = Migration { traffic, losses: None, strategy, ..result() };
        if kind != TrafficKind::Udp {
            result.phases.iter_mut().for_each(|phase| phase.delays = None);
        }
        result
    };
    for (kind, axis) in [
        (TrafficKind::Tcp, "taken by the connection"),
        (TrafficKind::Echo, "sent back by the guest"),
    ] {
        let result = of(kind, Strategy::Cold);
        let (text, page) = (table(&result), page::html(&result, &[]).unwrap());
        assert!(text.contains("segments") && !text.contains("datagram"), "{text}");
        assert!(page.contains(axis) && !page.contains("datagram"), "{page}");
        assert!(page.contains("<h1>A live migration without the NIC</h1>"), "{page}");
    }
    let page = page::html(&of(TrafficKind::Udp, Strategy::Warm), &[]).unwrap();
    assert!(
        page.contains("<th>datagrams</th>") && page.contains("with the NIC attached"),
        "{page}"
    );
}

#[test]
fn a_failure_says_why() {
    let failed = Migration {
        outcome: Outcome::Failed,
        error: Some("no acknowledgement".into()),
        ..result()
    };
    assert!(table(&failed).contains("no acknowledgement"));
}

#[test]
fn everything_is_written_and_the_page_stands_alone() {
    let dir = tempfile::tempdir().unwrap();
    let page = write(&Place::take(&dir.path().join("report")).unwrap(), &result()).unwrap();
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("<svg") && html.contains("A &lt;Fast&gt; &amp; Good CPU"));
    assert!(html.contains("7.2.22 (stock)"));
    let namespace = "http://www.w3.org/2000/svg";
    assert!(!html.replace(namespace, "").contains("http"), "nothing is loaded from elsewhere");
    let json = fs::read_to_string(page.with_file_name("result.json")).unwrap();
    assert_eq!(serde_json::from_str::<Migration>(&json).unwrap(), result());
    let svg = fs::read_to_string(page.with_file_name("throughput.svg")).unwrap();
    for class in ["before", "warmup", "gap", "after"] {
        assert!(svg.contains(&format!("<rect class=\"{class}\"")), "{class}");
    }
    // To be looked at.
    if let Some(keep) = std::env::var_os("GODWIT_KEEP_REPORT") {
        write(&Place::take(Path::new(&keep)).unwrap(), &result()).unwrap();
    }
}

/// Whatever is in the JSON is in the documentation.
#[test]
fn every_field_is_documented() {
    fn names(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Array(values) => values.iter().for_each(|value| names(value, found)),
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    found.push(name.clone());
                    names(value, found);
                }
            }
            _ => {}
        }
    }
    let page = fs::read_to_string(crate::system::paths::checkout().join("docs/result.md")).unwrap();
    let code = page.split('`').skip(1).step_by(2);
    let words: Vec<&str> =
        code.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
    let interface = Interface {
        name: "nic".into(),
        sent: Some(1),
        received: Some(1),
        lost: Some(0),
        service_gap_ms: 0.0,
        received_after: 1,
        pages_written: Some(0),
        pages_stale: Some(0),
        port: Default::default(),
    };
    let whole = Migration {
        error: Some(String::new()),
        interfaces: vec![interface],
        transfer: Some(Transfer { bytes: 1, sha256: String::new() }),
        series: vec![result()],
        second: Some(Box::new(result())),
        ..compared()
    };
    let mut found = Vec::new();
    names(&serde_json::to_value(whole).unwrap(), &mut found);
    let missing: Vec<_> = found.iter().filter(|name| !words.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "docs/result.md has nothing of {missing:?}");
}

#[test]
fn two_runs_stand_side_by_side() {
    let mut other = result();
    other.phases[1].rx_bits_per_s = 37.5e6;
    other.facts.lab_clock = Some(crate::choices::ClockKind::Virtual);
    let text = side_by_side(["a.json", "b.json"], [&result(), &other]);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let words: Vec<_> = line("warm-up, Mbit/s").split_whitespace().collect();
    assert_eq!(words[2..], ["73.9", "37.5", "-49.3%"], "{text}");
    assert!(line("clock").ends_with("differs") && line("downtime").ends_with('='), "{text}");
    assert!(text.contains("different clocks"), "{text}");
    let page = page_of_two(["a.json", "b.json"], [&result(), &other]).unwrap();
    assert_eq!(page.matches("<svg").count(), 4, "two plots, two gaps");
    assert!(page.contains("-49.3%"));
    if let Some(keep) = std::env::var_os("GODWIT_KEEP_REPORT") {
        fs::write(Path::new(&keep).join("pair.html"), page).unwrap();
    }
}

/// What a reader has to know first is above all figures.
#[test]
fn restarts_are_said_first() {
    let mut restarted = result();
    restarted.facts.lab_restarts = 1;
    restarted.facts.revision = "0123456789ab-dirty".into();
    let page = page::html(&restarted, &[]).unwrap();
    let warning = page.find("The lab was started over").unwrap();
    assert!(warning < page.find("class=\"tiles\"").unwrap());
    assert!(table(&restarted).starts_with("The lab was started over"));
    assert!(page.contains("were changed and not committed"));
    assert!(!page::html(&result(), &[]).unwrap().contains("role=\"alert\""));
}

#[test]
fn the_page_links_to_the_logs_and_says_how_machines_were_started() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::take(directory.path()).unwrap();
    fs::create_dir_all(place.logs().join("cold")).unwrap();
    for name in ["source.log", "cold/source.log"] {
        fs::write(place.logs().join(name), "").unwrap();
    }
    let page = fs::read_to_string(write(&place, &result()).unwrap()).unwrap();
    let page = page.replace("&#x2f;", "/");
    for expected in [
        "href=\"logs/source.log\"",
        "href=\"logs/cold/source.log\"",
        "href=\"result.json\"",
        "qemu-system-x86_64 -append &#x27;ip=10.0.2.15",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    assert!(directory.path().join("gap.svg").exists());
}

#[test]
fn an_empty_result_can_be_drawn() {
    let empty =
        Migration { phases: vec![], samples: vec![], events: vec![], saturated: None, ..result() };
    let dir = tempfile::tempdir().unwrap();
    write(&Place::take(dir.path()).unwrap(), &empty).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let error = Place::take(Path::new("/proc/nowhere")).unwrap_err();
    assert!(format!("{error:#}").contains("/proc/nowhere"));
}

#[test]
fn numbers_are_readable() {
    assert_eq!(thousands(1_234_567), "1,234,567");
    assert_eq!((thousands(12), thousands(123)), ("12".into(), "123".into()));
    assert_eq!((megabits(75.04e6), megabits(1.234e6)), ("75.0".into(), "1.23".into()));
    assert_eq!((duration(741.4), duration(1741.4)), ("741 ms".into(), "1.74 s".into()));
}

#[test]
fn a_series_has_a_line_for_each_migration_and_a_median_of_those_that_completed() {
    let run = |outcome, gap, downtime_ms| Migration {
        outcome,
        service_gap_ms: gap,
        migration: Figures { downtime_ms: Some(downtime_ms), ..Figures::default() },
        ..result()
    };
    let mut first = run(Outcome::Completed, 100.0, 90);
    assert_eq!(series::Series::of(&first).lines(), Vec::<String>::new());
    first.series = vec![
        run(Outcome::Completed, 130.0, 90),
        run(Outcome::Failed, 9000.0, 0),
        run(Outcome::Completed, 200.0, 100),
        run(Outcome::Completed, 120.0, 100),
    ];
    let transfer = Transfer { bytes: 1_000_000_000, sha256: "ab12".into() };
    first.transfer = Some(transfer);
    // 10, 20, 40 and 100.
    assert_eq!(first.median_beyond_downtime(), Some(30.0));
    let text = table(&first);
    for part in [
        "1       completed          90 ms       100 ms        4,632        4,700            0",
        "median                     95 ms       125 ms        4,632        4,700",
        "most                      100 ms       200 ms",
        "by 30 ms in the median",
        "1,000,000,000 bytes to the guest and back",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let page = page::html(&first, &[]).unwrap();
    for part in
        ["All migrations of this guest", "<th>3</th><td>failed</td>", "by 30 ms in the median"]
    {
        assert!(page.contains(part), "{part:?} in {page}");
    }
    assert!(!page::html(&run(Outcome::Completed, 1.0, 0), &[]).unwrap().contains("All migrations"));
    assert_eq!(run(Outcome::Failed, 1.0, 0).median_beyond_downtime(), None);
    // Over TCP, 0 is not that there was none.
    let tcp = Migration { losses: None, ..run(Outcome::Completed, 0.0, 140) };
    assert_eq!(tcp.median_beyond_downtime(), None);
    assert_eq!(service_gap(&tcp), "none seen");
}

#[test]
fn each_of_several_interfaces_has_a_line() {
    let interface = |name: &str, lost| Interface {
        name: name.into(),
        sent: Some(12_000),
        received: Some(12_000 - lost),
        lost: Some(lost),
        service_gap_ms: 512.0,
        received_after: 2048,
        pages_written: Some(1500),
        pages_stale: Some(0),
        port: serde_json::Map::new(),
    };
    let interfaces = vec![interface("nic", 40), interface("nic1", 1234)];
    let table = table(&Migration { interfaces, ..result() });
    let expected = "nic1:               12,000 datagrams sent, 1,234 lost; longest gap 512 ms; \
                    2,048 received afterwards; 0 stale of 1,500 pages its NIC wrote\n";
    assert!(table.contains(expected) && table.contains("\nnic: "), "{table}");
    assert!(!super::table(&result()).contains("nic"));
}
