//! The tests that documents name: in a table, in each column whose title begins with "Test".
//!
//! There, code (`` `link.rs` ``) and what stands in quotes is one of these:
//!
//! - a file or folder of the repository, by the end of its path;
//! - a function, which has to be a test, in the file or folder named before it in that cell, or
//!   anywhere if none is;
//! - an option (`--long`), which says how the tests beside it are run;
//! - else the title of a test of `cargo xtask test`, whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::lines::sources;

/// What a document names a test by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The end of the path of a file or folder.
    Place(String),
    /// A function in such a place, or anywhere.
    Function(String, Option<String>),
    /// A title in the end-to-end suite.
    Title(String),
}

/// A row of a table with such a column: the number of its line, and the names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// From 1.
    pub line: usize,
    /// In their order.
    pub names: Vec<Name>,
}

/// The rows of all such tables of a page in Markdown.
pub fn rows(page: &str) -> Vec<Row> {
    let mut found = Vec::new();
    let mut columns: Option<Vec<usize>> = None;
    for (line, text) in (1..).zip(page.lines()) {
        if !text.starts_with('|') {
            columns = None;
            continue;
        }
        let cells = cells(text);
        let Some(of_tests) = &columns else {
            let is_of_tests = |cell: &str| cell.to_lowercase().starts_with("test");
            let numbers = (0..cells.len()).filter(|&number| is_of_tests(&cells[number]));
            columns = Some(numbers.collect());
            continue;
        };
        let is_rule = cells.iter().all(|cell| cell.chars().all(|c| c == '-' || c == ':'));
        if !is_rule && !of_tests.is_empty() {
            let cells = of_tests.iter().filter_map(|&number| cells.get(number));
            found.push(Row { line, names: cells.flat_map(|cell| names(cell)).collect() });
        }
    }
    found
}

/// A vertical bar in code has a backslash in front.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|').replace("\\|", "\u{0}");
    let row = row.strip_suffix('|').unwrap_or(&row);
    row.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

fn names(cell: &str) -> Vec<Name> {
    let mut names = Vec::new();
    let mut place = None;
    let mut rest = cell;
    while let Some(start) = rest.find(['`', '"']) {
        let quote = &rest[start..=start];
        let Some((word, after)) = rest[start + 1..].split_once(quote) else { break };
        rest = after;
        if word.starts_with("--") {
            continue;
        }
        if word.ends_with(".rs") || (word.contains('/') && !word.contains(' ')) {
            place = Some(word.to_owned());
            names.push(Name::Place(word.into()));
        } else if word.contains('_') && word.chars().all(|c| c.is_alphanumeric() || c == '_') {
            names.push(Name::Function(word.into(), place.clone()));
        } else {
            names.push(Name::Title(word.into()));
        }
    }
    names
}

/// The files of a repository, and what their tests are called.
#[derive(Debug)]
pub struct Tests {
    files: Vec<(PathBuf, String)>,
}

impl Tests {
    /// Reads every `.rs` file in `folder`.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let files = sources(folder)?.into_iter().map(|file| {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            Ok((file, text))
        });
        Ok(Self { files: files.collect::<Result<_>>()? })
    }

    /// Whether there is such a file, folder or test. Titles are not known here.
    pub fn has(&self, name: &Name) -> bool {
        match name {
            Name::Place(place) => self.at(Some(place)).next().is_some(),
            Name::Function(function, place) => {
                self.at(place.as_ref()).any(|text| is_test(text, function))
            }
            Name::Title(_) => false,
        }
    }

    /// The text of the files at a place.
    fn at(&self, place: Option<&String>) -> impl Iterator<Item = &String> {
        let is_at = move |file: &Path| {
            place.is_none_or(|place| file.ancestors().any(|part| part.ends_with(place)))
        };
        self.files.iter().filter(move |(file, _)| is_at(file)).map(|(_, text)| text)
    }
}

/// Whether `function` is one, with an attribute of a test among those above it.
fn is_test(text: &str, function: &str) -> bool {
    let named = format!("fn {function}(");
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len()).filter(|&at| lines[at].contains(&named)).any(|at| {
        let above = lines[..at].iter().rev();
        let mut attributes = above.take_while(|line| line.trim_start().starts_with("#["));
        attributes.any(|line| line.contains("test]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
        | claim | Test, with its place |\n\
        |---|---|\n\
        | `not_this_column` | `dma.rs` `it_marks`, `link/` `it_links`; \"a flood | of SYNs\" |\n\
        | with a bar | with `--long`: `a \\| b` |\n\
        | nothing | – |\n\
        \n\
        | no tests | here |\n\
        |---|---|\n\
        | `an_item` | `another one` |\n";

    #[test]
    fn names_are_read_from_columns_of_tests_only() {
        let rows = rows(&PAGE.replace("flood | of", "flood of"));
        let place = |name: &str| Name::Place(name.into());
        let function = |name: &str, at: &str| Name::Function(name.into(), Some(at.into()));
        assert_eq!(
            rows,
            [
                Row {
                    line: 3,
                    names: vec![
                        place("dma.rs"),
                        function("it_marks", "dma.rs"),
                        place("link/"),
                        function("it_links", "link/"),
                        Name::Title("a flood of SYNs".into()),
                    ]
                },
                Row { line: 4, names: vec![Name::Title("a | b".into())] },
                Row { line: 5, names: vec![] },
            ]
        );
    }

    #[test]
    fn a_name_has_to_be_that_of_a_test_at_that_place() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("net")).unwrap();
        let text = "#[test]\n#[ignore]\nfn it_links() {}\nfn it_helps() {}\n";
        fs::write(folder.path().join("net/link.rs"), text).unwrap();
        let tests = Tests::read(folder.path()).unwrap();
        let function = |name: &str, place: Option<&str>| {
            tests.has(&Name::Function(name.into(), place.map(str::to_owned)))
        };
        assert!(function("it_links", None) && function("it_links", Some("net/link.rs")));
        assert!(function("it_links", Some("net")) && !function("it_links", Some("dma")));
        assert!(!function("it_helps", None) && !function("it_is_gone", None));
        assert!(tests.has(&Name::Place("link.rs".into())));
        assert!(!tests.has(&Name::Place("ink.rs".into())));
    }
}
