//! Applications other than `net-app`, as their authors have them.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use lab::{build::crates, system::command};

use crate::{
    migrations::{completed, fresh, migrate, read},
    options::Kernel,
    program::{logged, xtask},
    suite::{LONG, Suite},
};

pub(crate) fn add(suite: &mut Suite, kernel: Kernel, nested: bool) {
    let name = "an application of one's own is made, built, booted and asked";
    let migrated = if nested { ", and migrated" } else { "" };
    suite.test(&format!("{name}{migrated}"), LONG, move |log| own(log, nested.then_some(kernel)));
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

/// Its own test boots it, and asks it for its page; then it is migrated in the nested lab, if there
/// is a kernel for one.
fn own(log: &Path, lab: Option<Kernel>) -> Result<String> {
    let elsewhere = tempfile::Builder::new().prefix("godwit-new-").tempdir()?;
    let made = command::run(xtask()?.args(["new", "hello"]).current_dir(elsewhere.path()))?;
    ensure!(
        String::from_utf8(made.stdout)?.contains("/hello\n"),
        "it does not say what comes next"
    );
    let folder = elsewhere.path().join("hello");
    command::run(cargo(&folder).args(["fmt", "--check"]))?;
    let test = &mut cargo(&folder);
    test.args(["test", "--", "--nocapture"]);
    let status = logged(test, log, "Testing an application of one's own", last_line)?;
    ensure!(status.success(), "its own test failed ({status})");
    let again = xtask()?.args(["new", "hello"]).current_dir(elsewhere.path()).output()?;
    let said = String::from_utf8(again.stderr)?;
    ensure!(!again.status.success() && said.contains("hello exists already"), "said {said:?}");
    lab.map_or(Ok(String::new()), |kernel| own_migrates(log, kernel, &folder))
}

/// By the command that the README has for it.
fn own_migrates(log: &Path, kernel: Kernel, folder: &Path) -> Result<String> {
    let json = folder.join("result.json");
    let mut migrate = cargo(folder);
    migrate.args(["xtask", "migrate", "--traffic", "echo", "--seconds", "2", "--json"]).arg(&json);
    if let Some(kernel) = kernel {
        migrate.arg("--host-kernel").arg(kernel);
    }
    let log = log.with_extension("migrate.log");
    let status = logged(&mut migrate, &log, "Migrating an application of one's own", last_line)?;
    ensure!(status.success(), "its migration failed ({status}): {} tells why", log.display());
    let migration = read(&json)?;
    completed(&migration)?;
    let fresh = fresh(&migration)?;
    let transfer = migration.transfer.context("there was no transfer")?;
    Ok(format!("{fresh}, {} bytes there and back", transfer.bytes))
}

/// Cargo, in the application's folder.
fn cargo(folder: &Path) -> Command {
    let mut cargo = crates::cargo();
    cargo.current_dir(folder);
    // What it is built into is its own business, and so is where it is.
    cargo.env_remove("CARGO_TARGET_DIR");
    cargo
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}
