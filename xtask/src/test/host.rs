//! Tests that need no virtual machine.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::suite::Suite;
use crate::{build, paths, progress::Step};

pub(super) fn add(suite: &mut Suite) {
    suite.test("host tests", |log| cargo_test(log, &["--workspace", "--no-fail-fast"], &[]));
}

/// Runs tests of ours by cargo, as one.
pub(super) fn cargo_test(
    log: &Path,
    arguments: &[&str],
    environment: &[(&str, String)],
) -> Result<String> {
    let mut cargo = build::cargo();
    cargo
        .arg("test")
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .current_dir(paths::checkout());
    let so_far = |text: &str| format!("{} passed", count(text).0);
    let status = logged(&mut cargo, log, "Running cargo test", so_far)?;
    let text = fs::read_to_string(log)?;
    let (passed, failures) = count(&text);
    ensure!(status.success(), "{}", describe(&failures, &text));
    ensure!(passed > 0, "cargo test ran no test");
    Ok(format!("{passed} of them"))
}

/// Runs a command with its output in `log`, and shows how far it has come by what is there.
pub(super) fn logged(
    command: &mut Command,
    log: &Path,
    title: &str,
    so_far: impl Fn(&str) -> String,
) -> Result<ExitStatus> {
    let mut step = Step::new(title);
    let out = File::create(log).with_context(|| log.display().to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let text = fs::read(log)?;
        step.message(so_far(&String::from_utf8_lossy(&text)));
        thread::sleep(Duration::from_millis(200));
    }
}

/// How many tests passed, and the names of those that did not.
fn count(text: &str) -> (u64, Vec<&str>) {
    let mut passed = 0;
    let mut failures = Vec::new();
    for line in text.lines() {
        if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            failures.push(name);
        } else if let Some(result) = line.strip_prefix("test result: ") {
            // "ok. 17 passed; 0 failed; …"
            passed += result
                .split_ascii_whitespace()
                .nth(1)
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    (passed, failures)
}

fn describe(failures: &[&str], text: &str) -> String {
    if failures.is_empty() {
        let error = text.lines().find(|line| line.starts_with("error")).unwrap_or("no error named");
        return format!("cargo test failed: {error}");
    }
    format!("failed: {}", failures.join(", "))
}

/// Keeps the result of a function that only checks.
pub(super) fn silently(result: Result<()>) -> Result<String> {
    result.map(|()| String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_and_failures_named() {
        let text = "test a::b ... ok\ntest c::d ... FAILED\n\
                    test result: FAILED. 1 passed; 1 failed; 0 ignored\n\
                    test result: ok. 17 passed; 0 failed; 0 ignored\n";
        assert_eq!(count(text), (18, vec!["c::d"]));
    }
}
