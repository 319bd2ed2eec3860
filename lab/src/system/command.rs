//! Running other programs, with errors that say which and why.

use std::{
    io,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

use super::detail;

/// What commands run in, so that errors can be recognised.
pub const LOCALE: &str = "C.UTF-8";

/// What the C library says for ENOSPC in that, whoever reports it.
pub const FULL_DISK: &str = "No space left on device";

/// Runs to the end, output captured; a failure carries the last lines of what the program said.
pub fn run(command: &mut Command) -> Result<Output> {
    detail::started(command);
    let output = command
        .env("LC_ALL", LOCALE)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", display(command)))?;
    if !output.status.success() {
        let mut said = output.stdout;
        said.extend_from_slice(&output.stderr);
        let said = reason(&String::from_utf8_lossy(&said), 15);
        bail!("{} failed ({})\n{said}", display(command), output.status);
    }
    Ok(output)
}

/// Whether it could be started and ended well.
pub fn succeeds(command: &mut Command) -> io::Result<bool> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(output.status()?.success())
}

/// What matters of what a program said that failed: a full disk, which it tends to name once for
/// every file, or its last `lines` lines.
pub fn reason(said: &str, lines: usize) -> String {
    match said.lines().find(|line| line.contains(FULL_DISK)) {
        Some(line) => tail(line, 1),
        None => tail(said, lines),
    }
}

/// The last `lines` lines, indented.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether an error, ours or that of a program we ran, is for want of space.
pub fn is_full_disk(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains(FULL_DISK)
}

/// Program and arguments, long command lines cut.
fn display(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        if text.len() > 120 {
            text.push_str(" …");
            break;
        }
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_what_the_program_said() {
        let error = run(Command::new("sh").args(["-c", "echo first; echo second >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("first") && error.contains("second"), "{error}");
    }

    #[test]
    fn a_full_disk_is_the_reason_however_much_was_said_after_it() {
        let said = format!("cc: x.o: {FULL_DISK}\n{}", "ninja: stopped\n".repeat(9));
        assert_eq!(reason(&said, 2), format!("    cc: x.o: {FULL_DISK}"));
        assert_eq!(reason("one\ntwo\nthree\n", 2), "    two\n    three");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program"), "{error:#}");
    }
}
