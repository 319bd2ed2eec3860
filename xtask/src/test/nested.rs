//! Migrations in the nested lab, by the commands people run.

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitStatus},
};

use anyhow::{Context, Result, ensure};
use lab::{
    migration::Outcome,
    result::{Migration, PhaseName},
};

use super::{host::logged, suite::Suite};
use crate::{cli, lab_parts};

/// Frames received while the hypervisor was logging, for a check to count.
const FRAMES: u64 = 1_000;

pub(super) fn add(suite: &mut Suite, host: &cli::Host) {
    // What takes minutes when it is not in the cache, with its own progress shown.
    let parts = |_: &Path| {
        let parts = lab_parts::prepare(host.kernel())?;
        Ok(parts.qemu.binary.display().to_string())
    };
    if !suite.test("the parts of the lab", parts) {
        return;
    }
    suite.test("demo", |log| demo(log, host));
    for marking in ["auto", "always"] {
        suite.test(&format!("migrate --marking {marking}"), |log| {
            let migration = migrate(log, host, &["--marking", marking])?;
            completed(&migration)?;
            let idle = migration.dma.pages_marked_before;
            let idle = idle.context("the guest reported nothing before the migration")?;
            ensure!((idle > 0) == (marking == "always"), "{idle} pages marked while nobody logged");
            fresh(&migration)
        });
    }
    suite.test("migrate --nic igb", |log| {
        let migration = migrate(log, host, &["--nic", "igb"])?;
        completed(&migration)?;
        fresh(&migration)
    });
    suite.test("migrate --marking never loses writes", |log| {
        let migration = migrate(log, host, &["--marking", "never"])?;
        completed(&migration)?;
        let integrity = migration.integrity;
        ensure!(integrity.stale > 0, "stale is 0 without marking: the test cannot fail");
        Ok(format!("{} of {} stale", integrity.stale, integrity.buffers_checked))
    });
    suite.test("migrate --strategy cold", |log| {
        let migration = migrate(log, host, &["--strategy", "cold"])?;
        completed(&migration)?;
        ensure!(migration.integrity.stale == 0, "{:?}", migration.integrity);
        Ok(String::new())
    });
}

/// The main job, with its report.
fn demo(log: &Path, host: &cli::Host) -> Result<String> {
    let json = log.with_extension("json");
    let said = command(log, host, &["demo", "--json", path(&json)?, "--seconds", "5"])?;
    let migration = read(&json)?;
    completed(&migration)?;
    let remark = fresh(&migration)?;
    let last = said.lines().last().context("demo said nothing")?.trim();
    let report = last.rsplit(' ').next().unwrap_or_default();
    ensure!(Path::new(report).exists(), "the last line names no report: {last}");
    Ok(remark)
}

/// A migration that comes out as it was asked for.
pub(super) fn migrate(log: &Path, host: &cli::Host, arguments: &[&str]) -> Result<Migration> {
    let (status, migration) = attempt(log, host, arguments)?;
    ensure!(status.success(), "`cargo xtask migrate {}` failed ({status})", arguments.join(" "));
    Ok(migration)
}

/// A migration that may come out as it will, and how the tool ended.
pub(super) fn attempt(
    log: &Path,
    host: &cli::Host,
    arguments: &[&str],
) -> Result<(ExitStatus, Migration)> {
    let (json, report) = (log.with_extension("json"), log.with_extension("report"));
    let mut all = vec!["migrate", "--json", path(&json)?, "--report", path(&report)?];
    if !arguments.contains(&"--seconds") {
        all.extend(["--seconds", "3"]);
    }
    all.extend(arguments);
    let status = run(log, host, &all)?;
    Ok((status, read(&json)?))
}

/// Runs this very tool, and returns what it said.
fn command(log: &Path, host: &cli::Host, arguments: &[&str]) -> Result<String> {
    let status = run(log, host, arguments)?;
    ensure!(status.success(), "`cargo xtask {}` failed ({status})", arguments.join(" "));
    Ok(fs::read_to_string(log)?)
}

/// The same, and returns how it ended.
fn run(log: &Path, host: &cli::Host, arguments: &[&str]) -> Result<ExitStatus> {
    let mut tool = Command::new(env::current_exe()?);
    tool.args(arguments);
    if let Some(kernel) = &host.host_kernel {
        tool.arg("--host-kernel").arg(kernel);
    }
    let title = format!("Running {}", arguments[0]);
    logged(&mut tool, log, &title, |text| text.lines().last().unwrap_or_default().to_owned())
}

fn read(json: &Path) -> Result<Migration> {
    let text = fs::read_to_string(json).with_context(|| json.display().to_string())?;
    serde_json::from_str(&text).with_context(|| json.display().to_string())
}

pub(super) fn completed(migration: &Migration) -> Result<()> {
    ensure!(
        migration.outcome == Outcome::Completed,
        "the outcome is {:?}: {}",
        migration.outcome,
        migration.error.as_deref().unwrap_or("no error")
    );
    let after = migration.phase(PhaseName::After).context("there is no phase after")?;
    ensure!(after.rx_packets > 0, "no traffic reached the guest on the destination");
    Ok(())
}

/// Nothing stale among enough frames to tell.
pub(super) fn fresh(migration: &Migration) -> Result<String> {
    let integrity = migration.integrity;
    ensure!(integrity.stale == 0, "{} of {} stale", integrity.stale, integrity.buffers_checked);
    let logged = integrity.while_logging.unwrap_or(0);
    ensure!(logged >= FRAMES, "only {logged} of the checked frames came while logging");
    Ok(format!("0 of {} stale, {logged} while logging", integrity.buffers_checked))
}

/// As an argument of this tool.
pub(super) fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path in the target directory")
}
