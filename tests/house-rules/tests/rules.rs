//! Holds this repository to its rules.

use std::{
    fs,
    path::{Path, PathBuf},
};

use house_rules::{circles, lines, links, messages};

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
    let contents = fs::read_to_string(checkout().join("docs/README.md")).unwrap();
    for entry in fs::read_dir(checkout().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_page = name.ends_with(".md") && name != "README.md";
        assert!(!is_page || contents.contains(&format!("({name})")), "{name} is in no list");
    }
}
