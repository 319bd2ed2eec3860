//! What scripts go by when something is wrong: exit statuses, and the file of `--json`.

use std::{ffi::OsString, fs, os::unix::fs::symlink, path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use lab::{report::Place, system::tools};

use crate::{
    migrations::{attempt, check},
    options::Kernel,
    program::xtask,
    suite::{MINUTES, Suite},
};

const UNKNOWN: &str = "--no-such-option";

pub(crate) fn add(suite: &mut Suite) {
    suite.test("a command line that makes no sense ends with 2", MINUTES, |log| {
        ending(log, &["migrate", "--rate", "0"], &[], (2, "--rate"))?;
        ending(log, &["migrate", UNKNOWN], &[], (2, UNKNOWN))
    });
    suite.test("a machine that lacks something ends with 4", MINUTES, |log| {
        let programs = tempfile::tempdir()?;
        let path = programs.path();
        for tool in ["cargo", "rustc", "cc", "ld"] {
            symlink(tools::find_program(tool).context(tool)?, path.join(tool))?;
        }
        ending(log, &["migrate", "--lab", "local"], &[("PATH", path.into())], (4, "setpriv"))
    });
    suite.test("the directory of a report that is being written is refused", MINUTES, |log| {
        let report = tempfile::tempdir()?;
        let _taken = Place::take(report.path())?;
        let directory = report.path().to_str().context("a path")?;
        let line = ["migrate", "--lab", "local", "--report", directory];
        ending(log, &line, &[], (1, "another run is writing its report"))
    });
}

/// Of a migration, in the lab on this machine.
pub(crate) fn add_migrate(suite: &mut Suite, kernel: Kernel) {
    suite.test(
        "data that is stale without having been asked for ends with 3",
        MINUTES,
        move |log| {
            // Of a repeated key the last one counts, so that the tool knows nothing of this.
            let line = ["--lab", "local", "--nic", "ixgbe", "--append", "marking=never"];
            let (status, migration) = attempt(log, kernel, &line)?;
            let (stale, checked) = check(&migration)?;
            ensure!(
                status.code() == Some(3),
                "{stale} of {checked} stale, and it ended with {status}"
            );
            Ok(format!("{stale} of {checked} stale"))
        },
    );
}

/// How `cargo xtask` ends, with `word` in its message and in the file of `--json`.
fn ending(
    log: &Path,
    line: &[&str],
    environment: &[(&str, OsString)],
    (status, word): (i32, &str),
) -> Result<String> {
    // Before its line is understood, nobody knows that there is a `--json` in it.
    let is_understood = !line.contains(&UNKNOWN);
    let directory = tempfile::tempdir()?;
    let json = directory.path().join("result.json");
    let mut tool = xtask()?;
    tool.args(line).arg("--json").arg(&json).envs(environment.iter().cloned());
    let output = tool.stdin(Stdio::null()).output()?;
    fs::write(log, &output.stderr)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(status), "it ended with {}: {said}", output.status);
    ensure!(said.contains(word), "the message does not say {word:?}: {said}");
    ensure!(json.exists() == is_understood, "--json exists: {}", json.exists());
    if is_understood {
        let value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&json)?)?;
        let error = value["error"].as_str().unwrap_or_default();
        ensure!(value["exit_status"] == status && error.contains(word), "--json says {value}");
    }
    Ok(String::new())
}
