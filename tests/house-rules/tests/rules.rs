//! Holds this repository to its rules.

use std::path::Path;

use house_rules::{circles, lines};

/// Packages without circles between their modules. Whoever frees another one of them adds it.
const WITHOUT_CIRCLES: &[&str] = &[
    "images",
    "images/loader",
    "lab",
    "lab/init",
    "lab/ixgbe-model",
    "migrate-agent",
    "net-app/probe",
    "tests/end-to-end",
    "tests/house-rules",
    "xtask",
];

/// Folders whose long lines are still to be broken.
const WITH_LONG_LINES: &[&str] = &["drivers", "net-app", "unikernel"];

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it lies in the checkout")
}

#[test]
fn no_circles_between_modules() {
    let mut found = String::new();
    for package in WITHOUT_CIRCLES {
        for circle in circles::of_crate(&checkout().join(package)).unwrap() {
            found += &format!("{package}: {circle}");
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
