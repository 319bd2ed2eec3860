//! How much of what goes on is shown on standard error.

use std::{
    process::Command,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Detail {
    /// Errors and warnings.
    Quiet,
    /// And what is being done.
    Steps,
    /// And the command line of each program that is started.
    Commands,
}

static DETAIL: AtomicU8 = AtomicU8::new(Detail::Steps as u8);

/// From now on, for the whole process.
pub fn show(detail: Detail) {
    DETAIL.store(detail as u8, Relaxed);
}

/// Whether so much is shown.
#[must_use]
pub fn shows(detail: Detail) -> bool {
    DETAIL.load(Relaxed) >= detail as u8
}

/// Shows a program that is being started, where that is wanted.
pub fn started(command: &Command) {
    if shows(Detail::Commands) {
        let parts = std::iter::once(command.get_program()).chain(command.get_args());
        line("", parts.map(|part| part.to_string_lossy()));
    }
}

/// Shows a program that is being started elsewhere, where that is wanted.
pub fn started_in(place: &str, arguments: &[String]) {
    if shows(Detail::Commands) {
        line(&format!("[{place}] "), arguments.iter().map(|part| part.as_str().into()));
    }
}

fn line<'a>(place: &str, parts: impl Iterator<Item = std::borrow::Cow<'a, str>>) {
    eprintln!("+ {place}{}", quoted(parts));
}

/// As a shell takes it.
#[must_use]
pub fn quoted<'a>(parts: impl Iterator<Item = std::borrow::Cow<'a, str>>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+.,:/@%".contains(c);
    let quote = |part: std::borrow::Cow<'_, str>| {
        if !part.is_empty() && part.chars().all(is_plain) {
            part.into_owned()
        } else {
            format!("'{}'", part.replace('\'', r"'\''"))
        }
    };
    parts.map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_line_for_what_it_was() {
        let parts = ["printf", "%s|", "a b", "", "it's", r#"{"x":1}"#, "$HOME"];
        let line = quoted(parts.into_iter().map(Into::into));
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, r#"a b||it's|{"x":1}|$HOME|"#);
    }
}
