//! Links between pages that lead nowhere.

use std::{
    collections::HashMap,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result};

/// Every link of a `.md` file in `folder` to a file or a heading that is not there, as
/// `FILE: TARGET`. Addresses of elsewhere, and folders whose name begins with a dot, are passed by.
///
/// # Errors
/// Something in the folder cannot be read.
pub fn broken(folder: &Path) -> Result<Vec<String>> {
    let pages = pages(folder)?;
    let headings: HashMap<PathBuf, Vec<String>> =
        pages.iter().map(|(path, text)| (plain(path), headings(text))).collect();
    let mut found = Vec::new();
    for (path, text) in &pages {
        for target in targets(text) {
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let to = match file {
                "" => plain(path),
                file => plain(&path.parent().unwrap_or(folder).join(file)),
            };
            let is_there = to.exists()
                && (heading.is_empty()
                    || headings.get(&to).is_some_and(|all| all.iter().any(|one| one == heading)));
            if !is_there {
                found.push(format!("{}: {target}", path.display()));
            }
        }
    }
    Ok(found)
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

fn pages(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Templates are of packages that are made elsewhere, where their links lead somewhere.
        if path.is_dir() && !["target", "templates"].contains(&&*name) && !name.starts_with('.') {
            found.extend(pages(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            found.push((path, text));
        }
    }
    found.sort();
    Ok(found)
}

/// Lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Where the links of a page lead that lead to this repository.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // What is between backticks is no link.
        let words = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for rest in words.split("](").skip(1) {
            let Some((target, _)) = rest.split_once(')') else { continue };
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// What the headings of a page are linked to as: small letters, blanks as hyphens, and nothing else
/// but letters, digits, hyphens and underscores; a second one of the name has a number.
fn headings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for line in prose(text) {
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ') else { continue };
        if !line.starts_with('#') {
            continue;
        }
        let lower = title.trim().to_lowercase().replace(' ', "-");
        let name: String =
            lower.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect();
        let before = names.iter().filter(|other| **other == name).count();
        found.push(if before == 0 { name.clone() } else { format!("{name}-{before}") });
        names.push(name);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_that_lead_nowhere_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        write("docs/a.md", "# One & two: `three`\n[up](../b.md#words), [here](#one--two-three)\n");
        write(
            "b.md",
            "## Words\n[a](docs/a.md), [no](docs/no.md) and [no](docs/a.md#two)\n\
             `[code](nowhere)` [web](https://nowhere)\n```\n[more](nowhere)\n```\n",
        );
        let found = broken(folder.path()).unwrap();
        let ends: Vec<_> = found.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(ends, ["docs/no.md", "docs/a.md#two"]);
    }
}
