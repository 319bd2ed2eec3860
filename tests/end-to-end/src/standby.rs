//! Migrations of a NIC with a standby, with what QEMU does by itself, and without either: how long
//! the service is gone.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{
    choices::Strategy,
    result::{Migration, PhaseName},
};

use crate::{
    migrations::{RATE, completed, fresh, migrate},
    options::Kernel,
    suite::{LONG, MINUTES, Suite},
};

/// How often a guest goes to and fro.
const TIMES: usize = 10;
const TIMES_TEXT: &str = "10";
/// What a service gap may exceed QEMU's own downtime by, in the median.
const BEYOND_MS: f64 = 50.0;
/// Without NIC and standby, next to nothing arrives: a small part of what does with either.
const COLD: f64 = 0.1;
/// A transfer, in megabytes.
const TRANSFER: u64 = 1000;

/// Without one, in the lab on this machine.
pub(crate) fn add_local(suite: &mut Suite, kernel: Kernel) {
    let linux = ["--guest", "linux", "--strategy", "cold", "--lab", "local", "--nic", "e1000e"];
    suite.test(&format!("migrate {}", linux.join(" ")), MINUTES, move |log| {
        let cold =
            migrate(log, kernel, &[&linux[..], &["--rate", RATE, "--seconds", "1"]].concat())?;
        completed(&cold)?;
        let (before, warmup) = (rate(&cold, PhaseName::Before)?, rate(&cold, PhaseName::Warmup)?);
        ensure!(warmup < COLD * before, "{warmup:.0} bit/s without a NIC, {before:.0} with it");
        Ok(gap(&cold))
    });
    suite.alone("ten migrations to and fro of e1000e alone", LONG, move |log| {
        let options = ["--lab", "local", "--nic", "e1000e", "--times", TIMES_TEXT];
        short_gaps(log, kernel, &options)
    });
}

pub(crate) fn add(suite: &mut Suite, kernel: Kernel, long: bool) {
    suite.test("migrate --strategy failover", LONG, move |log| {
        let migration = migrate(log, kernel, &["--strategy", "failover"])?;
        completed(&migration)?;
        let served = migration.phase(PhaseName::Warmup).context("there is no warm-up")?.rx_packets;
        ensure!(served > 0, "the standby served nothing in the warm-up");
        Ok(format!("{:.0} ms without service", migration.service_gap_ms))
    });
    let linux = ["--guest", "linux", "--strategy", "failover"];
    suite.test(&format!("migrate {}", linux.join(" ")), MINUTES, move |log| {
        let failover =
            migrate(log, kernel, &[&linux[..], &["--rate", RATE, "--seconds", "1"]].concat())?;
        completed(&failover)?;
        let (before, warmup) =
            (rate(&failover, PhaseName::Before)?, rate(&failover, PhaseName::Warmup)?);
        ensure!(warmup > COLD * before, "the standby served {warmup:.0} bit/s of {before:.0}");
        Ok(gap(&failover))
    });
    if !long {
        return;
    }
    suite.alone("Godwit and Linux next to one another", LONG, move |log| {
        let warm = migrate(log, kernel, &["--compare", "--guest", "linux", "--seconds", "3"])?;
        let runs: Vec<_> = std::iter::once(&warm).chain(&warm.comparisons).collect();
        let names: Vec<_> = runs.iter().map(|run| run.arrangement()).collect();
        ensure!(names == ["warm", "failover", "Linux, failover", "Linux, cold"], "{names:?}");
        let mut rates = Vec::new();
        for run in &runs {
            completed(run)?;
            let offered = run.traffic.paced_bits_per_s;
            ensure!(offered == warm.traffic.paced_bits_per_s, "offered {offered:?}");
            rates.push(rate(run, PhaseName::Warmup)?);
        }
        let most = rates[1].max(rates[2]);
        ensure!(rates[0] > most && rates[2] > rates[3], "in the warm-up, bit/s: {rates:.0?}");
        let rates = rates.iter().map(|rate| format!("{:.0}", rate / 1e6)).collect::<Vec<_>>();
        Ok(format!("{} Mbit/s in the warm-up: {}", rates.join(", "), names.join("; ")))
    });
    suite.alone("warm, failover and cold next to one another", LONG, move |log| {
        let warm = migrate(log, kernel, &["--standby", "--compare", "--seconds", "3"])?;
        completed(&warm)?;
        let of = |strategy: Strategy| {
            let compared = warm.comparisons.iter().find(|other| other.strategy == strategy);
            compared.with_context(|| format!("there is no {strategy:?} migration"))
        };
        completed(of(Strategy::Cold)?)?;
        let failover = of(Strategy::Failover)?;
        completed(failover)?;
        let ratio = |what: fn(&Migration) -> Option<f64>| {
            let of_both = what(&warm).zip(what(failover));
            of_both.map(|(warm, other)| warm / other).context("a warm-up was not measured")
        };
        // How much more differs between machines; what it rests on is in the report.
        Ok(format!(
            "warm receives {:.1} times what failover does in the warm-up, {:.1} times when flooded",
            ratio(|run| Some(run.phase(PhaseName::Warmup)?.rx_bits_per_s))?,
            ratio(|run| run.saturated.as_ref()?.warmup)?
        ))
    });
    let to_and_fro = ["--standby", "--times", TIMES_TEXT, "--rate", RATE];
    suite.alone("ten migrations to and fro under UDP", LONG, move |log| {
        short_gaps(log, kernel, &to_and_fro)
    });
    suite.alone("ten migrations to and fro under one connection of iperf3", LONG, move |log| {
        let first = migrate(log, kernel, &[&to_and_fro[..], &["--traffic", "tcp"]].concat())?;
        let runs = all(&first)?;
        Ok(longest_gap(&runs))
    });
    suite.alone("ten migrations to and fro under a checked transfer of 1 GB", LONG, move |log| {
        let megabytes = TRANSFER.to_string();
        let options = ["--traffic", "echo", "--transfer", &megabytes];
        let first = migrate(log, kernel, &[&to_and_fro[..], &options].concat())?;
        let runs = all(&first)?;
        let transfer = first.transfer.as_ref().context("there was no transfer")?;
        ensure!(transfer.bytes >= TRANSFER * 1_000_000, "only {} bytes", transfer.bytes);
        Ok(format!("{} bytes there and back, {}", transfer.bytes, longest_gap(&runs)))
    });
}

/// Bits a second that the guest received in a phase.
fn rate(run: &Migration, phase: PhaseName) -> Result<f64> {
    Ok(run.phase(phase).with_context(|| format!("there is no {phase:?}"))?.rx_bits_per_s)
}

/// How long nothing arrived.
fn gap(run: &Migration) -> String {
    format!("{:.0} ms without service", run.service_gap_ms)
}

/// What the source noticed.
fn longest_gap(runs: &[&Migration]) -> String {
    let longest = runs.iter().map(|run| run.service_gap_ms).fold(0.0, f64::max);
    format!("the source was never held up for longer than {longest:.0} ms")
}

/// A series under UDP, whose service gaps are what QEMU takes and little more.
fn short_gaps(log: &Path, kernel: Kernel, options: &[&str]) -> Result<String> {
    let first = migrate(log, kernel, &[options, &["--seconds", "1"]].concat())?;
    let runs = all(&first)?;
    let lost = runs.iter().map(|run| run.losses.map_or(0, |losses| losses.lost)).max();
    let median = first.median_beyond_downtime().context("no migration has a downtime")?;
    ensure!(
        median <= BEYOND_MS,
        "the service gaps exceed the downtime by {median:.0} ms in the median"
    );
    Ok(format!(
        "service gap {median:.0} ms beyond the downtime in the median, at most {} datagrams lost",
        lost.unwrap_or(0)
    ))
}

/// The migrations of a series, all of which completed with nothing stale among enough frames to
/// tell.
fn all(first: &Migration) -> Result<Vec<&Migration>> {
    let runs = first.runs();
    ensure!(runs.len() == TIMES, "{} of {TIMES} migrations", runs.len());
    for run in &runs {
        completed(run)?;
        fresh(run)?;
    }
    Ok(runs)
}
