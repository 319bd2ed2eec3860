//! Migrations by the commands people run, and what every one of them is held to.

use std::{fs, path::Path, process::ExitStatus};

use anyhow::{Context, Result, ensure};
use lab::{
    migration::Outcome,
    result::{Migration, PhaseName},
};

use crate::{
    options::Kernel,
    program::{logged, xtask},
    replayed, restarts,
};

/// In Mbit/s: what the standby keeps up with, or what it drops would be taken for a gap.
pub(crate) const RATE: &str = "60";
/// Seconds of the phases before and after, which hardly any test measures.
const SECONDS: &str = "1";
/// The same where a client of somebody's is run, over and over.
const SECONDS_OF_CLIENTS: &str = "3";
/// Seconds: as long as those of a series are. In a demo they are more, to be seen in a plot.
const WARMUP: &str = "4";
/// Frames received while the hypervisor was logging, for a check to count.
const FRAMES: u64 = 1_000;

/// A migration that comes out as it was asked for.
pub(crate) fn migrate(log: &Path, kernel: Kernel, arguments: &[&str]) -> Result<Migration> {
    let (status, migration) = attempt(log, kernel, arguments)?;
    ensure!(status.success(), "`cargo xtask migrate {}` failed ({status})", arguments.join(" "));
    Ok(migration)
}

/// A migration that may come out as it will, and how the tool ended.
pub(crate) fn attempt(
    log: &Path,
    kernel: Kernel,
    arguments: &[&str],
) -> Result<(ExitStatus, Migration)> {
    let (json, report) = (log.with_extension("json"), log.with_extension("report"));
    let mut all = vec!["migrate", "--json", path(&json)?, "--report", path(&report)?];
    if !arguments.contains(&"--seconds") {
        let is_client = arguments.contains(&"--client");
        all.extend(["--seconds", if is_client { SECONDS_OF_CLIENTS } else { SECONDS }]);
    }
    // A control has to have the time to lose something.
    if !arguments.iter().any(|word| ["never", "--times", "--cancel-at"].contains(word)) {
        all.extend(["--warmup", WARMUP]);
    }
    all.extend(arguments);
    let status = run(log, kernel, &all)?;
    let migration = read(&json)?;
    // Stock QEMU has no capability, and so no conversation.
    let is_patched = !arguments.iter().any(|argument| ["stock", "backports"].contains(argument));
    if is_patched {
        replayed::holds(&report.join("logs"), &migration)?;
    }
    Ok((status, migration))
}

/// Runs the tool, and returns what it said.
pub(crate) fn command(log: &Path, kernel: Kernel, arguments: &[&str]) -> Result<String> {
    let status = run(log, kernel, arguments)?;
    ensure!(status.success(), "`cargo xtask {}` failed ({status})", arguments.join(" "));
    Ok(fs::read_to_string(log)?)
}

/// The same, and returns how it ended.
fn run(log: &Path, kernel: Kernel, arguments: &[&str]) -> Result<ExitStatus> {
    let mut tool = xtask()?;
    tool.args(arguments);
    if let Some(kernel) = kernel {
        tool.arg("--host-kernel").arg(kernel);
    }
    let title = format!("Running {}", arguments[0]);
    logged(&mut tool, log, &title, |text| text.lines().last().unwrap_or_default().to_owned())
}

/// The result that is there. If the lab had to be started over for it, that counts.
pub(crate) fn read(json: &Path) -> Result<Migration> {
    let text = fs::read_to_string(json).with_context(|| json.display().to_string())?;
    let migration = serde_json::from_str(&text).with_context(|| json.display().to_string())?;
    restarts::note(&migration)?;
    Ok(migration)
}

/// A migration that arrives with all it received, of a guest that marked nothing before it.
pub(crate) fn fresh_on_arrival(log: &Path, kernel: Kernel, arguments: &[&str]) -> Result<String> {
    let migration = migrate(log, kernel, arguments)?;
    completed(&migration)?;
    bypasses(&migration)?;
    fresh(&migration)
}

/// The guest marked no page while nobody logged.
pub(crate) fn bypasses(migration: &Migration) -> Result<()> {
    let idle = migration.dma.pages_marked_before;
    let idle = idle.context("the guest reported nothing before the migration")?;
    ensure!(idle == 0, "{idle} pages marked while nobody logged");
    Ok(())
}

/// The control: one that arrives without some of it.
pub(crate) fn stale_on_arrival(log: &Path, kernel: Kernel, arguments: &[&str]) -> Result<String> {
    let migration = migrate(log, kernel, arguments)?;
    completed(&migration)?;
    let (stale, checked) = check(&migration)?;
    ensure!(stale > 0, "stale is 0 without marking: the test cannot fail");
    Ok(format!("{stale} of {checked} stale"))
}

pub(crate) fn completed(migration: &Migration) -> Result<()> {
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
pub(crate) fn fresh(migration: &Migration) -> Result<String> {
    let (stale, checked) = check(migration)?;
    ensure!(stale == 0, "{stale} of {checked} stale");
    let logged = migration.integrity.while_logging.unwrap_or(0);
    ensure!(logged >= FRAMES, "only {logged} of the checked frames came while logging");
    Ok(format!("0 of {checked} stale, {logged} while logging"))
}

/// Stale frames, and how many were checked.
pub(crate) fn check(migration: &Migration) -> Result<(u64, u64)> {
    migration.integrity.check().context("nothing was checked")
}

/// As an argument of the tool.
pub(crate) fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path in the target directory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn what_every_migration_is_held_to_can_fail() {
        assert!(completed(&sample::run()).is_ok() && fresh(&sample::run()).is_ok());
        let doctored = |doctor: fn(&mut Migration)| {
            let mut run = sample::run();
            doctor(&mut run);
            run
        };
        assert!(completed(&doctored(|run| run.outcome = Outcome::Failed)).is_err());
        assert!(completed(&doctored(|run| run.phases[3].rx_packets = 0)).is_err());
        assert!(bypasses(&doctored(|run| run.dma.pages_marked_before = Some(0))).is_ok());
        assert!(bypasses(&doctored(|run| run.dma.pages_marked_before = Some(1))).is_err());
        assert!(bypasses(&doctored(|run| run.dma.pages_marked_before = None)).is_err());
        assert!(fresh(&doctored(|run| run.integrity.stale = Some(1))).is_err());
        assert!(fresh(&doctored(|run| run.integrity.buffers_checked = None)).is_err());
        assert!(fresh(&doctored(|run| run.integrity.while_logging = Some(FRAMES - 1))).is_err());
    }
}
