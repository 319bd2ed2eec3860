//! A machine without a network, which has what another one fetched for it.

use std::{fs, path::Path};

use anyhow::{Result, bail, ensure};
use lab::system::{command, namespace, scratch::Scratch};

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
    if !command::succeeds(namespace::unshare("--net").arg("true"))? {
        bail!(Skipped("this user may make no network namespace on this machine".into()));
    }
    // Cargo reads the configuration of directories above, so that of a home works like this one.
    let root = Scratch::new()?;
    let (fetched, home) = (root.join("fetched"), root.join("cargo"));
    tool(log, None, &["fetch", path(&fetched)?])?;
    fs::create_dir(&home)?;
    fs::copy(fetched.join("cargo-config.toml"), home.join("config.toml"))?;
    let json = root.join("result.json");
    let mut run = namespace::unshare("--net");
    run.arg(xtask()?.get_program()).args(["migrate", "--seconds", "1", "--json", path(&json)?]);
    run.args(["--report", path(&root.join("report"))?])
        .env("CARGO_HOME", &home)
        .env("CARGO_TARGET_DIR", root.join("target"))
        .env("GODWIT_CACHE", root.join("cache"))
        .env("GODWIT_DOWNLOADS", &fetched);
    let output = run.output()?;
    fs::write(log, [output.stdout, output.stderr].concat())?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    completed(&read(&json)?)?;
    Ok(String::new())
}
