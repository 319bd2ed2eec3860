//! Migrations that come to nothing: cancelled at every stage, or because the guest keeps its NIC.
//! The guest has to be where it was, with its NIC, its traffic, and everything it received.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    choices::CancelAt,
    migration::Outcome,
    result::{Migration, PhaseName},
    system::tools,
};

use crate::{
    migrations::{RATE, attempt, completed, fresh, migrate, path},
    moves,
    options::Kernel,
    suite::{LONG, Suite},
    tshark::TSHARK,
};

/// Of a migration, in their order.
const STAGES: &str = "setup,warmup,quiesce,quiesced";
/// What a migration may take from the request for the NIC on, in milliseconds: QEMU's default for
/// the guest to quiesce it, and something for a busy machine.
const TIMEOUT_MS: u64 = 10_000;
const SLACK_MS: u64 = 5_000;
/// The request is counted from the migration's start, and the log, whose end is the migration's, is
/// on so much later at most.
const SETUP_MS: u64 = 500;

/// In the lab on this machine.
pub(crate) fn add_local(suite: &mut Suite, kernel: Kernel, long: bool) {
    suite.test("a migration of e1000e cancelled at every stage", LONG, move |log| {
        cancelled(log, kernel, &["--lab", "local", "--nic", "e1000e"])
    });
    suite.test("a migration of ixgbe with a standby cancelled at every stage", LONG, move |log| {
        with_a_standby(log, kernel)
    });
    if long {
        let name = "a migration of ixgbevf with a standby cancelled at every stage";
        suite.test(name, LONG, move |log| {
            let options = ["--lab", "local", "--nic", "ixgbevf", "--standby", "--rate", RATE];
            cancelled(log, kernel, &options)
        });
    }
    suite.test(
        "a guest that keeps its NIC fails the migration and loses nothing",
        LONG,
        move |log| {
            let options = ["--lab", "local", "--nic", "ixgbe", "--rate", RATE];
            let options = [&options[..], &["--standby", "--append", "detach=never"]].concat();
            let (status, migration) = attempt(log, kernel, &options)?;
            ensure!(status.code() == Some(1), "the tool ended with {status}");
            ensure!(migration.outcome == Outcome::Failed, "the outcome is {:?}", migration.outcome);
            let error = migration.error.as_deref().unwrap_or_default();
            ensure!(
                error.contains("did not quiesce the devices below"),
                "it failed with {error:?}"
            );
            let waited = waited(&migration)?;
            ensure!(
                (TIMEOUT_MS - SETUP_MS..TIMEOUT_MS + SLACK_MS).contains(&waited),
                "it failed {waited} ms after the NIC was asked for"
            );
            unharmed(&migration)?;
            let lost = migration.losses.context("nobody counted")?.lost;
            Ok(format!("{}, {lost} datagrams lost, after {waited} ms", fresh(&migration)?))
        },
    );
}

/// In the nested lab.
pub(crate) fn add_nested(suite: &mut Suite, kernel: Kernel, long: bool) {
    suite
        .test("a migration cancelled at every stage", LONG, move |log| cancelled(log, kernel, &[]));
    suite.test("a migration with a standby cancelled at every stage", LONG, move |log| {
        cancelled(log, kernel, &["--standby", "--rate", RATE])
    });
    if long {
        for nic in ["igb", "igbvf"] {
            let name = format!("a migration of {nic} with a standby cancelled at every stage");
            suite.test(&name, LONG, move |log| {
                cancelled(log, kernel, &["--nic", nic, "--standby", "--rate", RATE])
            });
        }
    }
}

/// One connection of iperf3 to an address by DHCP, and what the wire shows of it all.
fn with_a_standby(log: &Path, kernel: Kernel) -> Result<String> {
    tools::require("this test", &[TSHARK])?;
    let capture = log.with_extension("pcapng");
    let options = ["--lab", "local", "--nic", "ixgbe", "--standby"];
    // Slow, for a capture that is read in a moment.
    let traffic = ["--traffic", "tcp", "--rate", "20", "--pcap", path(&capture)?];
    let remark = cancelled(log, kernel, &[&options[..], &traffic].concat())?;
    // The NIC leaves where it is cancelled late, and comes back; in the end it leaves for good.
    let (primary, standby) = ("nic-source", "nic-standby-source");
    let ports = [primary, standby, primary, standby, primary, standby, "nic-destination"];
    moves::announced(&capture, &ports)?;
    // Each stage and the migration in the end warm up; cancelled in the third, they are let on.
    moves::told(&capture, 5, 3)?;
    // It is large, and all of interest in it was as it should be.
    fs::remove_file(&capture)?;
    Ok(format!("{remark}, every move announced"))
}

/// Cancels a migration at every stage, and then migrates.
pub(crate) fn cancelled(log: &Path, kernel: Kernel, options: &[&str]) -> Result<String> {
    let first =
        migrate(log, kernel, &[&["--seconds", "1", "--cancel-at", STAGES], options].concat())?;
    let runs = first.runs();
    ensure!(runs.len() == STAGES.split(',').count(), "{} migrations", runs.len());
    for run in runs {
        let stage = run.cancel_at;
        ensure!(run.outcome == Outcome::Cancelled, "at {stage:?} it {:?}", run.outcome);
        unharmed(run).with_context(|| format!("cancelled at {stage:?}"))?;
    }
    let second = first.second.as_ref().context("there was no migration in the end")?;
    completed(second)?;
    fresh(second)
}

/// Milliseconds from the request for the NIC to the end.
fn waited(migration: &Migration) -> Result<u64> {
    let figure = |name: &str| migration.port.get(name).and_then(serde_json::Value::as_u64);
    let requested = figure("quiesce-request-ms").context("the NIC was never asked for")?;
    let end = figure("logging-ms").context("nobody logged")?;
    Ok(end.saturating_sub(requested))
}

/// The guest's traffic flows, and what it received is right.
fn unharmed(migration: &Migration) -> Result<()> {
    match (migration.integrity.check(), migration.cancel_at) {
        (Some((0, 1..)), _) => {}
        // Before the hypervisor logs, the guest hears of nothing, and checks nothing.
        (None, Some(CancelAt::Setup)) => {}
        _ => bail!("{:?}", migration.integrity),
    }
    let after = migration.phase(PhaseName::After).context("there is no phase after")?;
    ensure!(after.rx_packets > 0, "no traffic reaches the guest");
    Ok(())
}
