//! Holds this repository to its rules.

use std::{
    fs,
    path::{Path, PathBuf},
};

use house_rules::{circles, lines};

/// Packages whose modules still have circles between them. All others are held to having none.
const WITH_CIRCLES: &[&str] = &["examples/kv", "lab/ixgbe-model", "tests/model-check"];

/// Folders whose long lines are still to be broken.
const WITH_LONG_LINES: &[&str] = &["drivers", "net-app", "unikernel"];

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
    for exempt in WITH_CIRCLES {
        assert!(packages.iter().any(|package| package == Path::new(exempt)), "no {exempt} here");
    }
    let mut found = String::new();
    for package in
        packages.iter().filter(|path| !WITH_CIRCLES.iter().any(|p| *path == Path::new(p)))
    {
        for circle in circles::of_crate(&checkout().join(package)).unwrap() {
            found += &format!("{}: {circle}", package.display());
        }
    }
    assert!(found.is_empty(), "move what both sides need into a third module:\n{found}");
}

#[test]
fn no_long_lines() {
    let mut found = lines::too_long(checkout()).unwrap();
    let later = WITH_LONG_LINES.iter().map(|folder| checkout().join(folder).display().to_string());
    let later: Vec<String> = later.collect();
    found.retain(|line| !later.iter().any(|folder| line.starts_with(folder)));
    assert!(found.is_empty(), "{} columns are enough:\n{}", lines::COLUMNS, found.join("\n"));
}
