//! Tests that need no virtual machine.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use lab::{
    build::crates,
    system::{
        paths,
        tools::{self, Tool},
    },
};

use crate::program;
use crate::suite::{LONG, MINUTES, Suite};

/// What runs in the guest, besides the examples.
const GUEST: [&str; 5] = ["unikernel", "drivers", "migrate-agent", "godwit", "net-app"];

/// What cargo and its companions find.
pub(crate) fn add_lints(suite: &mut Suite) {
    suite.test("rustfmt", MINUTES, |log| cargo(log, &["fmt", "--all", "--check"], &[]));
    suite.test("clippy", LONG, |log| {
        cargo(log, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
    });
    suite.test("clippy on what runs in the guest", LONG, |log| {
        crates::require_target(crates::GUEST)?;
        let examples: Vec<String> = fs::read_dir(paths::checkout().join("examples"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        let packages = GUEST.into_iter().chain(examples.iter().map(String::as_str));
        let mut arguments = vec!["clippy", "--target", crates::GUEST];
        arguments.extend(packages.flat_map(|package| ["--package", package]));
        arguments.extend(["--", "-D", "warnings"]);
        cargo(log, &arguments, &[])
    });
    suite.test("documentation", LONG, |log| {
        let strict = [("RUSTDOCFLAGS", "-D warnings")];
        cargo(log, &["doc", "--workspace", "--no-deps"], &strict)
    });
}

pub(crate) fn add_tests(suite: &mut Suite) {
    // It keeps all processors busy by itself, and a tool that another test started would wait as
    // long for cargo's lock on what is being built.
    suite.alone("host tests", LONG, |log| {
        tools::require("a host test", &[Tool::program("cpio", "cpio")])?;
        cargo_test(log, &["--workspace", "--no-fail-fast"])
    });
}

/// Runs a command of cargo's that is to find nothing.
fn cargo(log: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<String> {
    let mut cargo = crates::cargo();
    cargo.args(arguments).envs(environment.iter().copied()).current_dir(paths::checkout());
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    let title = format!("Running cargo {}", arguments[0]);
    let status = program::logged(&mut cargo, log, &title, last)?;
    ensure!(status.success(), "`cargo {}` found fault", arguments.join(" "));
    Ok(String::new())
}

/// Runs tests of ours by cargo, as one.
fn cargo_test(log: &Path, arguments: &[&str]) -> Result<String> {
    let mut cargo = crates::cargo();
    cargo.arg("test").args(arguments).current_dir(paths::checkout());
    let so_far = |text: &str| format!("{} passed", count(text).0);
    let status = program::logged(&mut cargo, log, "Running cargo test", so_far)?;
    let text = fs::read_to_string(log)?;
    let (passed, failures) = count(&text);
    ensure!(status.success(), "{}", describe(&failures, &text));
    ensure!(passed > 0, "cargo test ran no test");
    Ok(format!("{passed} of them"))
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
