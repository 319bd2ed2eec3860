//! Applications other than `net-app`, as their authors have them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{build::crates, system::command};

use crate::{
    migrations::{completed, migrate},
    options::Kernel,
    program::{logged, xtask},
    suite::{LONG, Suite},
};

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    suite.test("an application of one's own is made, built, booted and asked", LONG, own);
    suite.test("migrate --lab local --nic ixgbe --app examples/echo", LONG, move |log| {
        let app = ["--app", "examples/echo", "--traffic", "echo"];
        let options = [&["--lab", "local", "--nic", "ixgbe"][..], &app].concat();
        let migration = migrate(log, kernel, &options)?;
        completed(&migration)?;
        ensure!(migration.application == "echo", "{} was migrated", migration.application);
        let integrity = migration.integrity;
        let pages = integrity.pages_stale.zip(integrity.pages_written);
        let (stale, written) = pages.context("nobody compared the machines' memory")?;
        ensure!(stale == 0 && written > 0, "{stale} of {written} pages stale");
        let transfer = migration.transfer.context("there was no transfer")?;
        Ok(format!("0 of {written} pages stale, {} bytes there and back", transfer.bytes))
    });
}

/// Its own test boots it, and asks it for its page.
fn own(log: &Path) -> Result<String> {
    let elsewhere = tempfile::Builder::new().prefix("godwit-new-").tempdir()?;
    let made = command::run(xtask()?.args(["new", "hello"]).current_dir(elsewhere.path()))?;
    ensure!(
        String::from_utf8(made.stdout)?.contains("cd hello"),
        "it does not say what comes next"
    );
    let folder = elsewhere.path().join("hello");
    let cargo = |arguments: &[&str]| {
        let mut cargo = crates::cargo();
        cargo.args(arguments).current_dir(&folder);
        // What it is built into is its own business, and so is where it is.
        cargo.env_remove("CARGO_TARGET_DIR");
        cargo
    };
    command::run(&mut cargo(&["fmt", "--check"]))?;
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    let test = &mut cargo(&["test", "--", "--nocapture"]);
    let status = logged(test, log, "Testing an application of one's own", last)?;
    ensure!(status.success(), "its own test failed ({status})");
    let again = xtask()?.args(["new", "hello"]).current_dir(elsewhere.path()).output()?;
    let said = String::from_utf8(again.stderr)?;
    ensure!(!again.status.success() && said.contains("hello exists already"), "said {said:?}");
    Ok(String::new())
}
