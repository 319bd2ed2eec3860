//! What others wrote and is built in: where it comes from, under which licence, why, and how often.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

/// What cargo knows of the packages in a workspace and of all that they depend on.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// None for our own.
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// None for our own.
    source: Option<String>,
}

impl Metadata {
    /// Asks cargo, about what is built on these platforms.
    ///
    /// # Errors
    /// Cargo fails, as it does when `Cargo.lock` is not up to date.
    pub fn ask(workspace: &Path, platforms: &[&str]) -> Result<Self> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(workspace);
        cargo.args(platforms.iter().flat_map(|platform| ["--filter-platform", platform]));
        let output = cargo.output().context("cargo metadata")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn of_others(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.source.is_some())
    }

    /// Where they come from.
    pub fn sources(&self) -> BTreeSet<&str> {
        self.of_others().filter_map(|package| package.source.as_deref()).collect()
    }

    /// Those that may not be used under any of these licences, named as SPDX has them; each with
    /// what it says.
    pub fn refused(&self, allowed: &[&str]) -> Vec<String> {
        let is_refused = |package: &&Package| {
            !package.license.as_deref().is_some_and(|license| is_allowed(license, allowed))
        };
        let said = |package: &Package| {
            let license = package.license.as_deref().unwrap_or("no licence");
            format!("{} {}: {license}", package.name, package.version)
        };
        self.of_others().filter(is_refused).map(said).collect()
    }

    /// What our own packages name in their manifests.
    pub fn direct(&self) -> BTreeSet<&str> {
        let ours = self.packages.iter().filter(|package| package.source.is_none());
        let all = ours.flat_map(|package| &package.dependencies);
        all.filter(|one| one.source.is_some()).map(|one| one.name.as_str()).collect()
    }

    /// Those of which there are several versions, each with all of them.
    pub fn repeated(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut versions = BTreeMap::<_, BTreeSet<_>>::new();
        for package in self.of_others() {
            versions.entry(&*package.name).or_default().insert(&*package.version);
        }
        versions.retain(|_, versions| versions.len() > 1);
        versions
    }
}

/// "MIT/Apache-2.0" is how some still write "MIT OR Apache-2.0".
fn is_allowed(license: &str, allowed: &[&str]) -> bool {
    Expression::parse_mode(license, ParseMode::LAX).is_ok_and(|expression| {
        // What an exception adds to a licence only allows more.
        expression
            .evaluate(|wanted| wanted.license.id().is_some_and(|id| allowed.contains(&id.name)))
    })
}

/// The first columns of a page's table below the heading `heading`: what stands in backticks.
pub fn listed<'a>(page: &'a str, heading: &str) -> BTreeMap<&'a str, Vec<&'a str>> {
    let below = page.lines().skip_while(|line| *line != heading).skip(1);
    let table = below.take_while(|line| !line.starts_with("## "));
    let rows = table.filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let name = cells.next()?.trim_matches('`');
        Some((name, cells.collect()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_licence_of_several_is_enough_and_all_of_those_that_go_together() {
        let allowed = ["MIT", "Apache-2.0"];
        for license in ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR MIT", "Apache-2.0 WITH LLVM-exception"]
        {
            assert!(is_allowed(license, &allowed), "{license}");
        }
        for license in ["GPL-3.0-only", "MIT AND GPL-2.0-only", "ours", ""] {
            assert!(!is_allowed(license, &allowed), "{license}");
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_is_found() {
        let metadata: Metadata = serde_json::from_value(serde_json::json!({ "packages": [
            { "name": "ours", "version": "0.1.0", "license": null, "source": null,
              "dependencies": [
                { "name": "a", "source": "registry" }, { "name": "sister", "source": null }
            ]},
            { "name": "a", "version": "1.0.0", "license": "MIT", "source": "registry",
              "dependencies": [{ "name": "b", "source": "registry" }] },
            { "name": "b", "version": "1.0.0", "license": "MIT", "source": "registry",
              "dependencies": [] },
            { "name": "b", "version": "2.0.0", "license": null, "source": "git",
              "dependencies": [] }
        ]}))
        .unwrap();
        assert_eq!(metadata.sources(), BTreeSet::from(["git", "registry"]));
        assert_eq!(metadata.refused(&["MIT"]), ["b 2.0.0: no licence"]);
        assert_eq!(metadata.direct(), BTreeSet::from(["a"]));
        let versions = BTreeSet::from(["1.0.0", "2.0.0"]);
        assert_eq!(metadata.repeated(), BTreeMap::from([("b", versions)]));
    }

    #[test]
    fn tables_are_read_below_their_heading() {
        let page = "## One\n| crate | why |\n|---|---|\n| `a` | it has to be |\n\
                    ## Two\n| `b` | 1, 2 |\n";
        assert_eq!(listed(page, "## One"), BTreeMap::from([("a", vec!["it has to be"])]));
        assert_eq!(listed(page, "## Two"), BTreeMap::from([("b", vec!["1, 2"])]));
    }
}
