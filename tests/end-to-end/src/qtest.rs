//! The tests that the series for QEMU brings along, against the QEMU built from it, and QEMU's own
//! of what the series touches.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use lab::{
    build::qemu::{self, Kept, is_passed},
    parts::Qemu,
};

use crate::{
    program::logged,
    suite::{LONG, Suite},
};

/// How many there are at least: a program that lists none would pass. There is one more where KVM
/// has a dirty ring.
const AT_LEAST: usize = 39;
const UNIT_AT_LEAST: usize = 10;

/// QEMU's own tests of what the series touches: the failover pair; all kinds of devices, e1000e,
/// igb and PCI's hot-plug among them; the chipsets. How many there are depends on the devices that
/// our QEMU is built with. Not `device-plug-test`, which wants others and skips all, nor
/// `migration-test`, which was not seen to end in software.
const OWN: [(&str, usize); 4] =
    [("virtio-net-failover", 23), ("qos-test", 40), ("q35-test", 6), ("i440fx-test", 4)];

pub(crate) fn add(suite: &mut Suite, long: bool) {
    // QEMU may have to be built first.
    let series = |log: &Path, which: fn((Qemu, [PathBuf; 2])) -> (Qemu, PathBuf), at_least| {
        let (qemu, test) = which(qemu::with_tests()?);
        let mut command = Command::new(test);
        passes(command.env("QTEST_QEMU_BINARY", &qemu.binary).arg("--tap"), log, at_least)
    };
    suite.test("the unit test of the series for QEMU", LONG, move |log| {
        series(log, |(qemu, [unit, _])| (qemu, unit), UNIT_AT_LEAST)
    });
    suite.test("the tests of the series for QEMU", LONG, move |log| {
        series(log, |(qemu, [_, qtest])| (qemu, qtest), AT_LEAST)
    });
    for (test, at_least) in OWN.into_iter().filter(|_| long) {
        suite.test(&format!("QEMU's own {test}"), LONG, move |log| {
            let kept = Kept::open()?;
            passes(&mut kept.test(&format!("tests/qtest/{test}"))?, log, at_least)
        });
    }
}

/// Runs a test of QEMU's, one case after the other: each starts one or two machines.
fn passes(command: &mut Command, log: &Path, at_least: usize) -> Result<String> {
    let status = logged(command, log, "Running QEMU's tests", |text| {
        text.lines().rfind(|line| is_passed(line)).unwrap_or_default().to_owned()
    })?;
    let said = fs::read_to_string(log)?;
    let passed = said.lines().filter(|line| is_passed(line)).count();
    ensure!(status.success(), "after {passed} that passed, one failed ({status})");
    ensure!(passed >= at_least, "only {passed} tests ran");
    Ok(format!("{passed} passed"))
}
