//! What a QEMU said last.

/// How many lines an error shows.
const TAIL: usize = 4;

/// The last lines of a log, each with the machine's name in front.
pub(super) fn last_lines(text: &str, name: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("{name}: {line}")).collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
