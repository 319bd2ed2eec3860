//! Migrations of a NIC with a standby, and with what QEMU does by itself.

use anyhow::{Context, Result, ensure};
use lab::{
    migration::Outcome,
    result::{Migration, PhaseName},
};

use super::{
    nested::{completed, fresh, migrate},
    suite::Suite,
};
use crate::cli;

/// How often a guest goes to and fro.
const TIMES: usize = 10;
/// What a service gap may exceed QEMU's own downtime by, in the median.
const BEYOND_MS: f64 = 50.0;

pub(super) fn add(suite: &mut Suite, host: &cli::Host, long: bool) {
    suite.test("migrate --standby --cancel-at detach, then again", |log| {
        let migration = migrate(log, host, &["--standby", "--cancel-at", "detach"])?;
        ensure!(migration.outcome == Outcome::Cancelled, "the outcome is {:?}", migration.outcome);
        ensure!(migration.integrity.stale == 0, "{:?}", migration.integrity);
        let second = migration.second.context("there was no second migration")?;
        completed(&second)?;
        fresh(&second)
    });
    suite.test("migrate --strategy failover", |log| {
        let migration = migrate(log, host, &["--strategy", "failover"])?;
        completed(&migration)?;
        let served = migration.phase(PhaseName::Warmup).context("there is no warm-up")?.rx_packets;
        ensure!(served > 0, "the standby served nothing in the warm-up");
        Ok(format!("{:.0} ms without service", migration.service_gap_ms))
    });
    if !long {
        return;
    }
    let times = TIMES.to_string();
    suite.test("migrate to and fro under UDP", |log| {
        let first = migrate(log, host, &["--standby", "--times", &times])?;
        let runs = all(&first)?;
        let mut beyond: Vec<f64> = runs
            .iter()
            .map(|run| run.service_gap_ms - run.migration.downtime_ms.unwrap_or(0) as f64)
            .collect();
        beyond.sort_by(f64::total_cmp);
        let median = beyond[beyond.len() / 2];
        ensure!(median <= BEYOND_MS, "the service gaps exceed the downtime by {beyond:.0?} ms");
        Ok(format!("service gap at most {median:.0} ms beyond the downtime, in the median"))
    });
    suite.test("migrate to and fro under one TCP connection", |log| {
        let first = migrate(
            log,
            host,
            &["--standby", "--times", &times, "--traffic", "tcp", "--rate", "50"],
        )?;
        all(&first)?;
        Ok(String::new())
    });
}

/// The migrations of a series, all of which completed.
fn all(first: &Migration) -> Result<Vec<&Migration>> {
    let runs: Vec<&Migration> = std::iter::once(first).chain(&first.series).collect();
    ensure!(runs.len() == TIMES, "{} of {TIMES} migrations", runs.len());
    for run in &runs {
        completed(run)?;
        ensure!(run.integrity.stale == 0, "{:?}", run.integrity);
    }
    Ok(runs)
}
