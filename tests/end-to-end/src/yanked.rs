//! Versions of crates that their authors have withdrawn ("yanked"). Cargo goes on building with
//! those that `Cargo.lock` has, and takes none for a package that has no such file yet.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    build::crates,
    system::{command, paths, scratch::Scratch},
};
use serde_json::Value;

use crate::suite::{MINUTES, Skipped, Suite};

/// What cargo says of one.
const WORDS: &str = "is yanked";
/// One that is, for a check that can fail.
const YANKED: (&str, &str) = ("futures-util", "0.3.30");

pub(crate) fn add(suite: &mut Suite) {
    suite.test("no crate is yanked", MINUTES, none);
}

fn none(log: &Path) -> Result<String> {
    let control = asked(log, &[YANKED])?;
    ensure!(control.is_some(), "cargo takes {YANKED:?}, which is yanked");
    let mut metadata = crates::cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked"]);
    let said = command::run(metadata.current_dir(paths::checkout()))?.stdout;
    let said: Value = serde_json::from_slice(&said)?;
    let packages = said["packages"].as_array().context("no packages")?;
    let others = packages.iter().filter(|package| !package["source"].is_null());
    let crates: Vec<_> = others
        .map(|package| package["name"].as_str().zip(package["version"].as_str()))
        .collect::<Option<_>>()
        .context("a package without name or version")?;
    if let Some(yanked) = asked(log, &crates)? {
        bail!("{yanked}");
    }
    Ok(format!("of {}", crates.len()))
}

/// Has cargo look for exactly these versions, for a package that has nothing else. What it says of
/// one that is yanked, if there is one.
fn asked(log: &Path, crates: &[(&str, &str)]) -> Result<Option<String>> {
    let folder = Scratch::new()?;
    let mut manifest =
        "[package]\nname = \"asks\"\nedition = \"2024\"\n[dependencies]\n".to_owned();
    // There may be several versions of one.
    for (number, (name, version)) in crates.iter().enumerate() {
        let exactly = format!("version = \"={version}\", default-features = false");
        writeln!(manifest, "d{number} = {{ package = \"{name}\", {exactly} }}")?;
    }
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::create_dir(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    let output = crates::cargo().arg("generate-lockfile").current_dir(&*folder).output()?;
    fs::write(log, &output.stderr)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().skip_while(|line| !line.starts_with("error")).collect::<Vec<_>>();
    match output.status.success() {
        true => Ok(None),
        false if said.contains(WORDS) => Ok(Some(error[..error.len().min(2)].join(" "))),
        // Without a network nobody knows.
        false => bail!(Skipped(error.join(" "))),
    }
}
