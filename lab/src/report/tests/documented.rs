//! docs/first.md shows what is printed, and explains it.

use std::fs;

use super::result;
use crate::report::table::{headlines, table};
use crate::result::{Facts, Migration};
use crate::system::paths;

fn page() -> String {
    fs::read_to_string(paths::checkout().join("docs/first.md")).unwrap()
}

/// A result with as many lines as one has.
fn known() -> Migration {
    let facts = Facts { taken_by_others: Some(0.0), ..Facts::default() };
    Migration { facts, ..result() }
}

#[test]
fn the_first_page_shows_the_table_as_it_is_and_explains_each_word() {
    let (page, result) = (page(), known());
    let text = table(&result);
    let heading = text.lines().find(|line| line.starts_with("phase")).unwrap();
    assert!(page.contains(heading), "docs/first.md has not:\n{heading}");
    let (_, explained) = page.split_once("\n## Reading the table\n").unwrap();
    let columns = ["from", "length", "received", "of before", "datagrams", "others' CPU"];
    assert!(columns.iter().all(|name| heading.contains(name)), "{heading}");
    let lines = headlines(&result).into_iter().map(|(name, _)| name.into_owned());
    for name in columns.map(str::to_owned).into_iter().chain(lines) {
        assert!(explained.contains(&format!("`{name}`")), "{name} is not explained");
    }
}

/// The words of a line, without figures.
fn words(text: &str) -> Vec<&str> {
    let is_word = |word: &&str| word.len() > 2 && word.chars().all(char::is_alphabetic);
    text.split([' ', ',', ';', '(', ')']).filter(is_word).collect()
}

#[test]
fn the_lines_on_the_first_page_are_in_the_words_of_the_table() {
    let (page, result) = (page(), known());
    let printed = headlines(&result);
    let of = |shown: &str| {
        let (name, _) = shown.split_once(':')?;
        printed.iter().find(|(printed, _)| printed == name).map(|(_, value)| value.as_str())
    };
    let mut known = 0;
    let blocks = page.split("```").skip(1).step_by(2);
    let lines = blocks.filter_map(|block| block.strip_prefix("text\n")).flat_map(str::lines);
    for (line, value) in lines.filter_map(|line| Some((line, of(line)?))) {
        known += 1;
        let printed = words(value);
        for word in words(line.split_once(':').unwrap().1) {
            assert!(printed.contains(&word), "{line}\n{word} is not in\n{value}");
        }
    }
    assert!(known > 5, "only {known} lines were found");
}
