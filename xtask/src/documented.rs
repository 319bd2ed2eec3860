//! What the pages tell people to type is what the tool takes.

use std::{collections::BTreeSet, fs, path::PathBuf};

use clap::{CommandFactory, Parser, error::ErrorKind};
use house_rules::documents;
use lab::system::paths;

use crate::cli::Cli;

/// What begins a line in a block of commands and is not the tool, with why it is there all the
/// same.
const OTHERS: [(&str, &str); 15] = [
    ("git clone", "how one comes to this repository"),
    ("cd ", "into a folder"),
    ("cargo test", "the test suites run it; of an application, the test of `new`"),
    ("cargo build --release -p ixgbe-model", "lab/src/build/crates.rs runs it"),
    ("target/release/ixgbe-model", "lab/ixgbe-model/tests runs it"),
    ("qemu-system-x86_64", "a machine by hand: of a disk, or beside that model"),
    ("skopeo copy", "a test has it read the same image"),
    ("kubectl apply", "docs/images.md says that no cluster was tried"),
    ("virsh ", "docs/libvirt.md says how much of it was run"),
    ("cp ", "what `cargo xtask qemu` does, by hand"),
    ("mkdir ", "the same"),
    ("../configure", "the same"),
    ("ninja ", "the same"),
    ("export QTEST_QEMU_BINARY", "the same"),
    ("tests/", "the same: `the tests of the series for QEMU`"),
];

/// Every page of the book, and where it is.
fn pages() -> Vec<(String, String)> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(paths::checkout()).unwrap().display().to_string(), text)
    };
    let folders = ["", "docs", "qemu"].map(|folder| paths::checkout().join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "md")).map(read).collect()
}

/// The commands in blocks of a page, with the number of the line: `sh` is for these, and what is
/// no command is `text`.
fn commands(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut block = None;
    let mut before = String::new();
    for (number, line) in (1..).zip(page.lines()) {
        if let Some(kind) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(kind.to_owned()) };
            assert!(block.as_deref() != Some(""), "line {number}: a block of what? `sh` or `text`");
        } else if block.as_deref().is_some_and(|kind| ["sh", "console"].contains(&kind)) {
            before += line;
            if !before.ends_with('\\') {
                let whole = std::mem::take(&mut before).replace('\\', "");
                let said = whole.split(" #").next().unwrap_or_default();
                let parts = said.split(" && ").flat_map(|part| part.split(" | "));
                found.extend(parts.map(|part| (number, part.trim().to_owned())));
            }
        }
    }
    found
}

/// What stands after `cargo xtask` in a command, as words; none if it is another command.
fn of_the_tool(command: &str) -> Option<Vec<String>> {
    let rest = command.trim_start_matches("$ ").strip_prefix("cargo xtask")?;
    let rest = rest.split(" > ").next().unwrap_or_default();
    Some(shlex::split(rest).unwrap_or_else(|| panic!("{command}: quotes are left open")))
}

fn parse(words: &[String]) -> Result<(), clap::Error> {
    match Cli::try_parse_from(["xtask".to_owned()].iter().chain(words)) {
        Err(error) if error.kind() != ErrorKind::DisplayHelp => Err(error),
        _ => Ok(()),
    }
}

#[test]
fn every_command_of_the_pages_is_understood() {
    let mut known = 0;
    for (page, text) in pages() {
        for (line, command) in commands(&text) {
            if let Some(words) = of_the_tool(&command) {
                known += 1;
                parse(&words).unwrap_or_else(|error| panic!("{page}:{line}: {command}: {error}"));
            } else {
                let is_known = OTHERS.iter().any(|(start, _)| command.starts_with(start));
                assert!(is_known, "{page}:{line}: who runs this? {command}");
            }
        }
    }
    assert!(known > 15, "only {known} commands were found");
}

/// In running text, where no word stands for something else.
#[test]
fn commands_in_running_text_are_understood() {
    let mut known = 0;
    for (page, text) in pages() {
        for code in text.split('`').skip(1).step_by(2) {
            let Some(words) = of_the_tool(code).filter(|words| !words.is_empty()) else { continue };
            let stands_for = |word: &String| {
                let is_name = word.chars().any(|c| c.is_ascii_uppercase());
                is_name || word.contains(['…', '|', ':'])
            };
            if words.iter().any(stands_for) {
                continue;
            }
            known += 1;
            // A command by its name alone is spoken of; another one is to be typed.
            let is_name = words.len() == 1 && Cli::command().find_subcommand(&words[0]).is_some();
            if !is_name {
                parse(&words).unwrap_or_else(|error| panic!("{page}: {code}: {error}"));
            }
        }
    }
    assert!(known > 15, "only {known} commands were found");
}

#[test]
fn every_command_has_a_test() {
    let page = fs::read_to_string(paths::checkout().join("docs/claims.md")).unwrap();
    let lines: Vec<&str> = page.lines().collect();
    let rows = documents::rows(&page);
    let tested = rows
        .iter()
        .filter(|row| !row.names.is_empty())
        .filter_map(|row| lines[row.line - 1].strip_prefix("| `cargo xtask ")?.split('`').next());
    let tested: BTreeSet<&str> = tested.collect();
    let command = Cli::command();
    let all: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(tested, all, "left: in docs/claims.md; right: of the tool");
}
