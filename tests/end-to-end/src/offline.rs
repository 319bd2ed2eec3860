//! A machine without a network, which has what another one fetched for it.

use std::{fs, path::Path};

use anyhow::{Result, bail, ensure};
use lab::system::{command, process::Guard};

use crate::{
    migrations::{command as tool, completed, path, read},
    program::xtask,
    suite::{LONG, Skipped, Suite},
};

pub(crate) fn add(suite: &mut Suite) {
    suite.test("a machine without a network needs nothing but what was fetched", LONG, offline);
}

/// Everything is built again, from an empty cache and with crates and target of its own.
fn offline(log: &Path) -> Result<String> {
    let mut namespace = vec!["unshare", "--net"];
    if !rustix::process::geteuid().is_root() {
        namespace.extend(["--user", "--map-root-user"]);
    }
    if !command::succeeds(Guard::command(namespace[0]).args(&namespace[1..]).arg("true"))? {
        bail!(Skipped("this user may make no network namespace on this machine".into()));
    }
    // Cargo reads the configuration of directories above, so that of a home works like this one.
    let root = tempfile::Builder::new().prefix("godwit-offline-").tempdir()?;
    let (fetched, home) = (root.path().join("fetched"), root.path().join("cargo"));
    tool(log, None, &["fetch", path(&fetched)?])?;
    fs::create_dir(&home)?;
    fs::copy(fetched.join("cargo-config.toml"), home.join("config.toml"))?;
    let json = root.path().join("result.json");
    let mut run = Guard::command(namespace[0]);
    run.args(&namespace[1..]).arg(xtask()?.get_program());
    run.args(["migrate", "--seconds", "1", "--json", path(&json)?]);
    run.args(["--report", path(&root.path().join("report"))?])
        .env("CARGO_HOME", &home)
        .env("CARGO_TARGET_DIR", root.path().join("target"))
        .env("GODWIT_CACHE", root.path().join("cache"))
        .env("GODWIT_DOWNLOADS", &fetched);
    let output = run.output()?;
    fs::write(log, [output.stdout, output.stderr].concat())?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    completed(&read(&json)?)?;
    Ok(String::new())
}
