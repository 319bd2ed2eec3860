//! One guest migrated over and over, while a seed chooses what happens, with `--long`.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use lab::rehearsal::soak::{Event, Soak};

use crate::{
    options::Kernel,
    program::{logged, xtask},
    restarts,
    suite::{LONG, Suite},
};

/// The same each time: what fails once can be done again. Of the events that it makes, the first
/// that completes comes soon.
const SEED: &str = "1";

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    // In real time, as one connection's other end is a program of this machine.
    suite.alone("a soak in the nested lab", LONG, move |log| good(log, kernel, &[]));
    suite.test("a soak with memory compared from outside", LONG, move |log| {
        good(log, kernel, &["--lab", "local", "--nic", "ixgbe"])
    });
    suite.test("a soak without marking finds what is lost", LONG, move |log| {
        let options = ["--lab", "local", "--nic", "ixgbe", "--marking", "never"];
        let (soak, is_well) = soak(log, kernel, &options)?;
        ensure!(!is_well, "the soak is content, and cannot fail");
        ensure!(soak.stale() > 0, "nothing is stale without marking");
        Ok(format!("{} stale", soak.stale()))
    });
}

/// Each event once, and nothing wrong.
fn good(log: &Path, kernel: Kernel, options: &[&str]) -> Result<String> {
    let (soak, is_well) = soak(log, kernel, options)?;
    let faults: Vec<_> = soak.rounds.iter().flat_map(|round| &round.faults).collect();
    ensure!(is_well && soak.is_good(), "{faults:?}, {:?}", soak.error);
    let missing = |event: &&Event| !soak.rounds.iter().any(|round| round.event == **event);
    let missing: Vec<_> = Event::ALL.iter().filter(missing).collect();
    ensure!(missing.is_empty(), "{missing:?} did not happen");
    let transfer = soak.transfer.context("the connection's sum")?;
    Ok(format!("{} migrations, {} bytes echoed", soak.rounds.len(), transfer.bytes))
}

/// What came out, and whether the tool was content with it.
fn soak(log: &Path, kernel: Kernel, options: &[&str]) -> Result<(Soak, bool)> {
    let (json, report) = (log.with_extension("json"), log.with_extension("report"));
    let mut tool = xtask()?;
    tool.args(["soak", "--seed", SEED]).args(options);
    tool.arg("--json").arg(&json).arg("--report").arg(&report);
    if let Some(kernel) = kernel {
        tool.arg("--host-kernel").arg(kernel);
    }
    let status = logged(&mut tool, log, "Soaking", |text| {
        text.lines().last().unwrap_or_default().to_owned()
    })?;
    let text = fs::read_to_string(&json).with_context(|| json.display().to_string())?;
    let soak: Soak = serde_json::from_str(&text).with_context(|| json.display().to_string())?;
    restarts::note_all(&soak.facts.lab_crashes)?;
    Ok((soak, status.success()))
}
