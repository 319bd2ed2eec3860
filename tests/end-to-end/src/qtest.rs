//! The tests that the series for QEMU brings along, against the QEMU built from it.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use lab::build::qemu;

use crate::{
    program::logged,
    suite::{LONG, Suite},
};

/// How many there are at least: a program that lists none would pass.
const AT_LEAST: usize = 38;

pub(crate) fn add(suite: &mut Suite) {
    // QEMU may have to be built first.
    suite.test("the tests of the series for QEMU", LONG, qtests);
}

fn qtests(log: &Path) -> Result<String> {
    let (qemu, test) = qemu::with_test()?;
    let mut command = Command::new(test);
    // One after the other: each starts one or two machines.
    command.env("QTEST_QEMU_BINARY", &qemu.binary).arg("--tap");
    let status = logged(&mut command, log, "Running QEMU's tests", |text| {
        text.lines().rfind(|line| is_passed(line)).unwrap_or_default().to_owned()
    })?;
    let said = fs::read_to_string(log)?;
    let passed = said.lines().filter(|line| is_passed(line)).count();
    ensure!(status.success(), "after {passed} that passed, one failed ({status})");
    ensure!(passed >= AT_LEAST, "only {passed} tests ran");
    Ok(format!("{passed} passed"))
}

/// Whether a line of the test anything protocol says so.
fn is_passed(line: &str) -> bool {
    line.starts_with("ok ") && !line.contains("# SKIP")
}
