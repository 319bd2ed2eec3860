//! Versions of crates that their authors have withdrawn ("yanked"). Cargo goes on building with
//! those that `Cargo.lock` has, and takes none for a package that has no such file yet.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result, bail};
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
    match asked(log, &[YANKED])? {
        Answer::Yanked(_) => {}
        Answer::Taken => bail!("cargo takes {YANKED:?}, which is yanked"),
        // Without a network nobody knows.
        Answer::Failed(why) => bail!(Skipped(why)),
    }
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
    match asked(log, &crates)? {
        Answer::Taken => Ok(format!("of {}", crates.len())),
        // The registry has just answered.
        Answer::Yanked(why) | Answer::Failed(why) => bail!("{why}"),
    }
}

/// What cargo says of a package that wants some crates.
#[derive(Debug, PartialEq)]
enum Answer {
    Taken,
    /// Not, since one is yanked.
    Yanked(String),
    /// Not, for another reason.
    Failed(String),
}

impl Answer {
    fn of(succeeded: bool, said: &str) -> Self {
        let error = said.lines().skip_while(|line| !line.starts_with("error")).collect::<Vec<_>>();
        match succeeded {
            true => Self::Taken,
            false if said.contains(WORDS) => Self::Yanked(error[..error.len().min(2)].join(" ")),
            false => Self::Failed(error.join(" ")),
        }
    }
}

/// Has cargo look for exactly these versions, for a package that has nothing else.
fn asked(log: &Path, crates: &[(&str, &str)]) -> Result<Answer> {
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
    Ok(Answer::of(output.status.success(), &String::from_utf8_lossy(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yanked_version_is_told_from_a_registry_that_does_not_answer() {
        let yanked = "warning: x\nerror: failed to select a version\n  version 1.0.0 is yanked\n";
        assert!(matches!(Answer::of(false, yanked), Answer::Yanked(_)));
        let silent = "error: download failed\n";
        assert_eq!(Answer::of(false, silent), Answer::Failed("error: download failed".into()));
        assert_eq!(Answer::of(true, ""), Answer::Taken);
    }
}
