//! What an image is made of, as a software bill of materials (CycloneDX 1.5).
//!
//! The crates are those that `cargo tree` finds for the image's own target: what is linked, without
//! what builds it or is expanded at compile time. Nothing in it tells the time or is made up by
//! chance, so that the same image has the same one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use lab::{build::crates, system::command};
use serde::Deserialize;
use serde_json::{Value, json};

/// A program that is part of an image.
pub(crate) struct Program<'a> {
    /// Where cargo is to look.
    pub(crate) folder: &'a Path,
    /// Its package.
    pub(crate) package: &'a str,
    /// What it is built for.
    pub(crate) target: &'a str,
}

/// A crate, as it is linked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    licence: String,
    /// It lies in a folder, and was not fetched.
    is_local: bool,
}

/// Crates, each with those that it needs.
type Graph = BTreeMap<Crate, BTreeSet<Crate>>;

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The bill of an image that is made of these; the first one gives it its name.
///
/// # Errors
/// Cargo does not know such a package.
pub(crate) fn of(programs: &[Program]) -> Result<Value> {
    let mut graph = Graph::new();
    let mut sums = BTreeMap::new();
    let mut first = None;
    for program in programs {
        let mut tree = crates::cargo();
        tree.args(["tree", "--locked", "--package", program.package, "--target", program.target]);
        tree.args(["--edges", "normal,no-proc-macro", "--prefix", "depth", "--format", "{p}\t{l}"]);
        let said = command::run(tree.current_dir(program.folder))?;
        let root = read(&String::from_utf8(said.stdout)?, &mut graph)?;
        first.get_or_insert(root);
        sums.extend(checksums(program.folder)?);
    }
    let first = first.context("an image of nothing")?;
    let rustc = command::run(Command::new("rustc").arg("--version"))?;
    let rustc = String::from_utf8(rustc.stdout)?;
    Ok(bill(&first, &graph, &sums, rustc.split(' ').nth(1).unwrap_or_default()))
}

/// Adds what `cargo tree` says; its first crate.
fn read(tree: &str, graph: &mut Graph) -> Result<Crate> {
    // The crates above the one of the line.
    let mut above: Vec<Crate> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let digits = line.find(|c: char| !c.is_ascii_digit()).context(line.to_owned())?;
        let depth: usize = line[..digits].parse()?;
        let (package, licence) = line[digits..].split_once('\t').context(line.to_owned())?;
        let mut words = package.split(' ');
        let (name, version) = words.next().zip(words.next()).context(line.to_owned())?;
        let one = Crate {
            name: name.into(),
            version: version.trim_start_matches('v').into(),
            licence: licence.trim_end_matches(" (*)").into(),
            is_local: words.next().is_some_and(|rest| rest.starts_with("(/")),
        };
        above.truncate(depth);
        graph.entry(one.clone()).or_default();
        if let Some(parent) = above.last() {
            graph.entry(parent.clone()).or_default().insert(one.clone());
        }
        above.push(one);
    }
    above.into_iter().next().context("cargo tree said nothing")
}

/// By name and version, of all that was fetched.
fn checksums(folder: &Path) -> Result<BTreeMap<(String, String), String>> {
    let locate = ["locate-project", "--workspace", "--message-format", "plain"];
    let said = command::run(crates::cargo().args(locate).current_dir(folder))?;
    let manifest = PathBuf::from(String::from_utf8(said.stdout)?.trim());
    let path = manifest.with_file_name("Cargo.lock");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lock: Lock = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let sums = lock.package.into_iter();
    Ok(sums.filter_map(|one| Some(((one.name, one.version), one.checksum?))).collect())
}

fn bill(
    image: &Crate,
    graph: &Graph,
    sums: &BTreeMap<(String, String), String>,
    rustc: &str,
) -> Value {
    let others = graph.keys().filter(|one| *one != image);
    let mut components: Vec<Value> = others.map(|one| component("library", one, sums)).collect();
    // What cargo does not count: the libraries that come with the compiler.
    components.push(json!({
        "type": "library", "bom-ref": "rust", "name": "rust", "version": rustc,
        "description": "core, alloc and compiler_builtins",
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
    }));
    let needs = graph.iter().map(|(one, needs)| {
        let needs: Vec<String> = needs.iter().map(purl).collect();
        json!({ "ref": purl(one), "dependsOn": needs })
    });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component("firmware", image, sums) },
        "components": components,
        "dependencies": needs.collect::<Vec<_>>(),
    })
}

fn component(kind: &str, one: &Crate, sums: &BTreeMap<(String, String), String>) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(one),
        "name": one.name,
        "version": one.version,
    });
    if !one.is_local {
        component["purl"] = purl(one).into();
    }
    if !one.licence.is_empty() {
        // Before SPDX had expressions, crates separated licences by slashes.
        let expression = one.licence.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    if let Some(sum) = sums.get(&(one.name.clone(), one.version.clone())) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    component
}

/// A name for a crate that all tools know (package URL).
fn purl(one: &Crate) -> String {
    format!("pkg:cargo/{}@{}", one.name, one.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0app v0.1.0 (/work/app)\tMIT\n\
                        1godwit v0.1.0 (/work/godwit)\tMIT OR Apache-2.0\n\
                        2log v0.4.1\tMIT/Apache-2.0\n\
                        1log v0.4.1\tMIT/Apache-2.0 (*)\n";

    #[test]
    fn each_crate_is_there_once_with_what_it_needs() {
        let mut graph = Graph::new();
        let root = read(TREE, &mut graph).unwrap();
        let sums = BTreeMap::from([(("log".to_owned(), "0.4.1".to_owned()), "ab".repeat(32))]);
        let bill = bill(&root, &graph, &sums, "1.95.0");
        assert_eq!(bill["metadata"]["component"]["name"], "app");
        let names: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["godwit", "log", "rust"]);
        let log = &bill["components"][1];
        assert_eq!(log["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(log["hashes"][0]["content"], "ab".repeat(32));
        assert_eq!(log["purl"], "pkg:cargo/log@0.4.1");
        // A crate of ours is nowhere to be fetched.
        assert!(bill["components"][0].get("purl").is_none());
        let of_app = &bill["dependencies"][0];
        assert_eq!(of_app["ref"], "pkg:cargo/app@0.1.0");
        assert_eq!(of_app["dependsOn"], json!(["pkg:cargo/godwit@0.1.0", "pkg:cargo/log@0.4.1"]));
    }
}
