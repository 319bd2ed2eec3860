//! Holds this repository to its rules.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use house_rules::{
    circles,
    dependencies::{self, Metadata},
    documents::{self, Name, Tests},
    lines, links, messages,
};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it lies in the checkout")
}

/// Folders of the packages in `folder`, relative to the checkout.
fn packages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        // Templates are of packages that are made elsewhere.
        let is_passed = name.starts_with('.') || ["target", "templates"].contains(&&*name);
        if !path.is_dir() || is_passed {
            continue;
        }
        if path.join("Cargo.toml").is_file() {
            found.push(path.strip_prefix(checkout()).unwrap().to_path_buf());
        }
        found.extend(packages(&path));
    }
    found
}

#[test]
fn no_circles_between_modules() {
    let packages = packages(checkout());
    assert!(packages.iter().any(|package| package == Path::new("unikernel")), "{packages:?}");
    let mut found = String::new();
    for package in packages {
        for circle in circles::of_crate(&checkout().join(&package)).unwrap() {
            found += &format!("{}: {circle}", package.display());
        }
    }
    assert!(found.is_empty(), "move what both sides need into a third module:\n{found}");
}

#[test]
fn no_long_lines() {
    let found = lines::too_long(checkout()).unwrap();
    assert!(found.is_empty(), "{} columns are enough:\n{}", lines::COLUMNS, found.join("\n"));
}

#[test]
fn no_links_to_nowhere() {
    let found = links::broken(checkout()).unwrap();
    assert!(found.is_empty(), "these links lead nowhere:\n{}", found.join("\n"));
}

#[test]
fn every_warning_of_the_guest_is_explained() {
    let page = fs::read_to_string(checkout().join("docs/troubleshooting.md")).unwrap();
    let mut found = Vec::new();
    for package in ["unikernel", "drivers", "migrate-agent", "godwit", "net-app"] {
        let folder = checkout().join(package).join("src");
        found.extend(messages::unexplained(&folder, &page).unwrap());
    }
    assert!(found.is_empty(), "docs/troubleshooting.md does not say:\n{}", found.join("\n"));
}

#[test]
fn every_page_is_in_the_book() {
    let read = |name: &str| fs::read_to_string(checkout().join("docs").join(name)).unwrap();
    let contents = [read("README.md"), read("SUMMARY.md")];
    for entry in fs::read_dir(checkout().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_page = name.ends_with(".md") && !["README.md", "SUMMARY.md"].contains(&&*name);
        let is_in_both = contents.iter().all(|list| list.contains(&format!("({name})")));
        assert!(!is_page || is_in_both, "{name} is not in both lists, README.md and SUMMARY.md");
    }
}

/// Pages whose tables name tests.
const PAGES: [&str; 7] =
    ["claims.md", "hosts.md", "images.md", "lab.md", "machines.md", "network.md", "reliability.md"];

/// That of `cargo xtask test` is the suite's own business, which knows their titles.
#[test]
fn tests_that_documents_name_exist() {
    let tests = Tests::read(checkout()).unwrap();
    let mut missing = String::new();
    let mut known = 0;
    for page in PAGES {
        let text = fs::read_to_string(checkout().join("docs").join(page)).unwrap();
        for row in documents::rows(&text) {
            for name in row.names.iter().filter(|name| !matches!(name, Name::Title(_))) {
                known += 1;
                if !tests.has(name) {
                    missing += &format!("docs/{page}:{}: {name:?}\n", row.line);
                }
            }
        }
    }
    assert!(known > 50, "only {known} names were found");
    assert!(missing.is_empty(), "no such test:\n{missing}");
}

#[test]
fn every_claim_has_a_test() {
    let text = fs::read_to_string(checkout().join("docs/claims.md")).unwrap();
    let rows = documents::rows(&text);
    assert!(rows.len() > 20, "only {} claims were found", rows.len());
    let without: Vec<usize> =
        rows.iter().filter(|row| row.names.is_empty()).map(|row| row.line).collect();
    assert!(without.is_empty(), "no test in docs/claims.md, lines {without:?}");
}

/// Where something of this repository runs.
const PLATFORMS: [&str; 4] = [
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "x86_64-unknown-none",
    "x86_64-unknown-uefi",
];

#[test]
fn dependencies_are_those_of_their_page() {
    let page = fs::read_to_string(checkout().join("docs/dependencies.md")).unwrap();
    let metadata = Metadata::ask(checkout(), &PLATFORMS).unwrap();

    let sources = metadata.sources();
    let is_registry = sources.iter().all(|source| source.starts_with("registry+"));
    assert!(sources.len() == 1 && is_registry, "crates come from {sources:?}");

    let allowed: Vec<&str> = dependencies::listed(&page, "## Licences").into_keys().collect();
    let refused = metadata.refused(&allowed);
    assert!(refused.is_empty(), "under none of the page's licences:\n{}", refused.join("\n"));

    let reasons = ["## In the guest", "## On the host", "## In tests"];
    let reasons = reasons.iter().flat_map(|part| dependencies::listed(&page, part));
    let reasons: BTreeSet<&str> =
        reasons.filter(|(_, cells)| !cells[0].is_empty()).map(|(name, _)| name).collect();
    assert_eq!(metadata.direct(), reasons, "left: in manifests; right: on the page, with a reason");

    let repeated = dependencies::listed(&page, "## Several versions").into_iter();
    let repeated = repeated.map(|(name, cells)| (name, cells[0].split(", ").collect()));
    assert_eq!(metadata.repeated(), repeated.collect(), "left: in Cargo.lock; right: on the page");
}
