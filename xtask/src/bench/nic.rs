//! `bench nic`: Godwit and Linux take turns on the same model of a NIC, in software emulation, with the same client.

use std::{fmt::Write, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    median, rounded,
    systems::{Backend, System, Systems},
    udp::{self, Range},
};
use crate::{
    cli::{Bench, Forward, RunNic},
    guest, paths,
    progress::Step,
};

/// NICs that both systems drive.
const NICS: [RunNic; 4] = [RunNic::E1000, RunNic::E1000e, RunNic::Igb, RunNic::Virtio];
/// Seconds of each TCP run, of which the first does not count.
const TCP: [&str; 4] = ["--time", "4", "--omit", "1"];

/// What is measured.
#[derive(Debug, Clone, Copy)]
struct Metric {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    per_unit: f64,
}

const METRICS: [Metric; 6] = [
    Metric { name: "tcp_receive", title: "TCP received", unit: "Mbit/s", per_unit: 1e6 },
    Metric { name: "tcp_send", title: "TCP sent", unit: "Mbit/s", per_unit: 1e6 },
    Metric { name: "udp_best_paced", title: "64-byte UDP, best paced", unit: "/s", per_unit: 1.0 },
    Metric { name: "udp_flood", title: "64-byte UDP, flooded", unit: "/s", per_unit: 1.0 },
    Metric { name: "udp_offered", title: "offered by the flood", unit: "/s", per_unit: 1.0 },
    Metric { name: "boot", title: "boot to service", unit: "s", per_unit: 1.0 },
];

/// One figure for each metric.
type Sample = [f64; METRICS.len()];

pub(super) fn run(options: &Bench) -> Result<Value> {
    let logs = paths::target().join("bench-logs");
    let systems = Systems::prepare(&options.host, &logs)?;
    let (qemu, linux) = systems.versions();
    println!("{qemu}; Linux {linux}; {} rounds, medians\n", options.rounds);
    let nics = if options.nic.is_empty() { &NICS[..] } else { &options.nic };
    let mut results = Vec::new();
    for nic in nics {
        let rounds = measure(&systems, nic, options.rounds)?;
        print!("{}", table(nic, &rounds));
        results.push(result(nic, &rounds));
    }
    Ok(json!({ "qemu": qemu, "linux": linux, "udp_payload": udp::PAYLOAD, "nics": results }))
}

/// Godwit's and Linux's figures, round by round.
fn measure(systems: &Systems, nic: &RunNic, rounds: u32) -> Result<Vec<[Sample; 2]>> {
    let mut step = Step::new(format!("Measuring {nic}"));
    let mut all = Vec::new();
    let steps = u64::from(rounds) * 2;
    for round in 0..rounds {
        let mut samples = [Sample::default(); 2];
        // Who goes first takes turns as well.
        let mut order = [System::Godwit, System::Linux];
        order.rotate_left(round as usize % 2);
        for (index, system) in order.into_iter().enumerate() {
            step.set(u64::from(round) * 2 + index as u64, steps);
            samples[system as usize] = sample(systems, system, nic)
                .with_context(|| format!("{} with {nic}", system.name()))?;
        }
        all.push(samples);
    }
    step.finish("done");
    Ok(all)
}

fn sample(systems: &Systems, system: System, nic: &RunNic) -> Result<Sample> {
    let port = guest::free_port()?;
    let forward = Forward { host: port, guest: guest::IPERF3_PORT };
    let (running, boot) = systems.boot(system, nic, &Backend::User(forward))?;
    let receive = guest::iperf3(port, &TCP)?;
    let send = guest::iperf3_after_another(port, &[&TCP[..], &["--reverse"]].concat())?;
    drop(running);

    let directory = tempfile::Builder::new().prefix("godwit-bench-").tempdir()?;
    let socket = directory.path().join("nic");
    let range = Range::start(&socket)?;
    let (_running, _) = systems.boot(system, nic, &Backend::Segment(Path::new(&socket)))?;
    let paced = range.best_paced()?;
    let flood = range.flood()?;
    Ok([receive, send, paced.received, flood.received, flood.offered, boot.as_secs_f64()])
}

/// Ratio of Godwit to Linux, the median of all rounds; above 1 where Godwit is ahead.
fn ratio(rounds: &[[Sample; 2]], metric: usize) -> f64 {
    let is_time = METRICS[metric].name == "boot";
    median(rounds.iter().map(|[godwit, linux]| {
        let (a, b) = (godwit[metric], linux[metric]);
        if is_time { b / a } else { a / b }
    }))
}

/// What is left of the best paced rate under the flood.
fn kept(rounds: &[[Sample; 2]], system: System) -> f64 {
    median(rounds.iter().map(|samples| {
        let [_, _, paced, flood, ..] = samples[system as usize];
        flood / paced
    }))
}

fn table(nic: &RunNic, rounds: &[[Sample; 2]]) -> String {
    let mut text =
        format!("{:<28}{:>16}{:>16}{:>10}\n", nic.to_string(), "Godwit", "Linux", "ratio");
    for (index, metric) in METRICS.iter().enumerate() {
        let [godwit, linux] = [System::Godwit, System::Linux].map(|system| {
            let value = median(rounds.iter().map(|samples| samples[system as usize][index]));
            let digits = if value / metric.per_unit < 10.0 { 2 } else { 0 };
            format!("{:.digits$} {}", value / metric.per_unit, metric.unit)
        });
        let ratio = ratio(rounds, index);
        let _ = writeln!(text, "{:<28}{godwit:>16}{linux:>16}{ratio:>10.2}", metric.title);
    }
    let [godwit, linux] = [System::Godwit, System::Linux]
        .map(|system| format!("{:.0} %", kept(rounds, system) * 100.0));
    let _ = writeln!(text, "{:<28}{godwit:>16}{linux:>16}\n", "flooded / best paced");
    text
}

fn result(nic: &RunNic, rounds: &[[Sample; 2]]) -> Value {
    let of = |system: System| {
        let mut values = serde_json::Map::new();
        for (index, metric) in METRICS.iter().enumerate() {
            let all: Vec<f64> =
                rounds.iter().map(|samples| samples[system as usize][index]).collect();
            let scaled = |value: f64| rounded(value / metric.per_unit);
            values.insert(
                metric.name.into(),
                json!({ "unit": metric.unit, "median": scaled(median(all.clone())),
                        "rounds": all.into_iter().map(scaled).collect::<Vec<_>>() }),
            );
        }
        values.insert("udp_flood_kept".into(), rounded(kept(rounds, system)));
        Value::from(values)
    };
    let ratios: serde_json::Map<_, _> = METRICS
        .iter()
        .enumerate()
        .map(|(index, metric)| (metric.name.to_owned(), rounded(ratio(rounds, index))))
        .collect();
    json!({ "nic": nic.to_string(), "godwit": of(System::Godwit), "linux": of(System::Linux),
            "ratio": ratios })
}
