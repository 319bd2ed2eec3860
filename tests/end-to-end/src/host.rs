//! Tests that need no virtual machine.

use std::{
    fs,
    path::Path,
    process::{Command, ExitStatus},
};

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

/// What a build beside other tests leaves to them. Not more, or it would not end on a busy machine.
const NICENESS: &str = "5";
/// What all host tests may take, in seconds: on an idle machine they do in one or two minutes, and
/// one that hangs is not to hold up the rest for longer.
const LIMIT: u32 = 30 * 60;
/// The exit status of timeout(1).
const OUT_OF_TIME: i32 = 124;

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
    let all = ["test", "--workspace", "--no-fail-fast"];
    // Minutes of all processors, which it takes only where another test leaves them.
    suite.test("host tests build", LONG, move |log| {
        // Cargo builds one thing at a time here, and all who need the tool would wait for the rest.
        crates::xtask()?;
        let mut nice = Command::new("nice");
        nice.args(["-n", NICENESS]).arg(crates::cargo().get_program());
        let status = run(nice.args(all).arg("--no-run"), log, "Building tests", last_line)?;
        ensure!(status.success(), "{}", describe(&[], &fs::read_to_string(log)?));
        Ok(String::new())
    });
    // Some of them have to be done in time, and they keep all processors busy.
    suite.alone("host tests", LONG, move |log| {
        tools::require("a host test", &[Tool::program("cpio", "cpio")])?;
        tests(crates::cargo().args(all), log, LIMIT)
    });
}

/// Runs a command of cargo's that is to find nothing.
fn cargo(log: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<String> {
    let mut cargo = crates::cargo();
    cargo.args(arguments).envs(environment.iter().copied());
    let status = run(&mut cargo, log, &format!("Running cargo {}", arguments[0]), last_line)?;
    ensure!(status.success(), "`cargo {}` found fault", arguments.join(" "));
    Ok(String::new())
}

/// Runs cargo, or what runs it, in the checkout.
fn run(
    command: &mut Command,
    log: &Path,
    title: &str,
    so_far: impl Fn(&str) -> String,
) -> Result<ExitStatus> {
    command.env("CARGO_TERM_COLOR", "never").current_dir(paths::checkout());
    program::logged(command, log, title, so_far)
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}

/// Runs tests of ours by a command, `cargo test`, as one, for so many seconds at most.
fn tests(command: &Command, log: &Path, limit: u32) -> Result<String> {
    let mut timed = Command::new("timeout");
    timed.args(["--kill-after=10", &limit.to_string()]);
    timed.arg(command.get_program()).args(command.get_args());
    let so_far = |text: &str| format!("{} passed", count(text).0);
    let status = run(&mut timed, log, "Running cargo test", so_far)?;
    let text = fs::read_to_string(log)?;
    let (passed, failures) = count(&text);
    let hangs = || format!("did not end within {limit} s: {}", hanging(&text));
    // When it had to be killed, timeout(1) is as well.
    ensure!(status.code() != Some(OUT_OF_TIME) && status.code().is_some(), "{}", hangs());
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

/// What was running when nothing came any more: tests that libtest says take long and never says
/// ended, or else what cargo ran last.
fn hanging(text: &str) -> String {
    let is_over = |name: &str| text.contains(&format!("test {name} ... "));
    let slow = text.lines().filter_map(|line| {
        line.strip_prefix("test ")?.strip_suffix(" has been running for over 60 seconds")
    });
    let names: Vec<_> = slow.filter(|name| !is_over(name)).collect();
    if names.is_empty() {
        let begins = |line: &&str| ["Running ", "Doc-tests "].iter().any(|w| line.starts_with(w));
        return text.lines().map(str::trim).rfind(begins).unwrap_or("nothing ran yet").to_owned();
    }
    names.join(", ")
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
    fn what_hangs_is_named() {
        let slow = " has been running for over 60 seconds\n";
        let text = format!(
            "     Running unittests src/lib.rs (target/debug/deps/lab-1)\n\
             test a::b{slow}test c::d{slow}test a::b ... ok\n"
        );
        assert_eq!(hanging(&text), "c::d");
        let text = format!("{text}test c::d ... ok\n   Doc-tests lab\n");
        assert_eq!(hanging(&text), "Doc-tests lab");
        assert_eq!(hanging(""), "nothing ran yet");
    }

    #[test]
    fn what_hangs_ends_with_its_name() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let ended = |script: &str| {
            let error = tests(Command::new("sh").args(["-c", script]), log.path(), 1);
            error.unwrap_err().to_string()
        };
        let slow = "echo 'test c::d has been running for over 60 seconds'";
        let said = "did not end within 1 s: c::d";
        assert_eq!(ended(&format!("{slow}; sleep 600")), said);
        assert_eq!(ended("exit 0"), "cargo test ran no test");
        assert_eq!(ended("echo 'test a::b ... FAILED'; exit 101"), "failed: a::b");
    }

    #[test]
    fn results_are_summed_and_failures_named() {
        let text = "test a::b ... ok\ntest c::d ... FAILED\n\
                    test result: FAILED. 1 passed; 1 failed; 0 ignored\n\
                    test result: ok. 17 passed; 0 failed; 0 ignored\n";
        assert_eq!(count(text), (18, vec!["c::d"]));
    }
}
