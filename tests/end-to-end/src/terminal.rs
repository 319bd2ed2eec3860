//! What is seen while a migration happens, on a terminal and without one.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use lab::{
    build::crates,
    system::tools::{self, Tool},
};

use crate::suite::{MINUTES, Suite};

const MIGRATION: [&str; 7] = ["migrate", "--lab", "local", "--nic", "e1000e", "--seconds", "1"];

pub(crate) fn add(suite: &mut Suite) {
    suite.test("a migration is seen on a terminal", MINUTES, on_a_terminal);
    suite.test("a quiet migration says its result alone", MINUTES, quiet);
    suite.test("a shell completes the command line", MINUTES, |_| completions());
}

/// On one that util-linux makes, 100 columns wide.
fn on_a_terminal(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("script", "bsdutils")])?;
    let tool = crates::xtask()?;
    let line = format!(
        "stty cols 100; NO_COLOR=1 '{}' {} --verbose --report '{}'",
        tool.display(),
        MIGRATION.join(" "),
        log.with_extension("report").display()
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &line]).arg(log);
    let status = script.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let said = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    ensure!(status.success(), "it ended with {status}");
    let drawn: Vec<&str> = said.split(['\r', '\n']).collect();
    let find = |words: &[&str]| {
        let line = drawn.iter().find(|line| words.iter().all(|word| line.contains(word)));
        line.with_context(|| format!("no line has {words:?}"))
    };
    find(&["Migrating: warm-up", "█", "Mbit/s", "MiB left"])?;
    find(&["Measuring before the migration", "Mbit/s"])?;
    find(&["+ ", "qemu-system-x86_64", "-incoming"])?;
    // Colours, of which bold is one as well, would be ESC [ … m.
    let coloured = said.split("\u{1b}[").skip(1).filter(|rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
    });
    ensure!(coloured.count() == 0, "there are colours in spite of NO_COLOR");
    Ok(format!("{} lines", drawn.len()))
}

fn quiet(log: &Path) -> Result<String> {
    let mut tool = crate::program::xtask()?;
    tool.args(MIGRATION).arg("--quiet").arg("--report").arg(log.with_extension("report"));
    let output = tool.stdin(Stdio::null()).output()?;
    let (said, progress) =
        (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    ensure!(output.status.success(), "it ended with {}: {progress}", output.status);
    ensure!(progress.is_empty(), "it says {progress}");
    ensure!(said.contains("service gap"), "no table: {said}");
    Ok(String::new())
}

/// As bash calls what completes a word.
fn completions() -> Result<String> {
    let tool = crates::xtask()?;
    let script = format!(
        "source <('{}' completions bash); COMP_WORDS=(xtask migrate --lab lo); COMP_CWORD=3; \
         $(complete -p xtask | sed 's/.*-F \\([^ ]*\\).*/\\1/') xtask lo --lab; \
         echo \"${{COMPREPLY[*]}}\"",
        tool.display()
    );
    let output = Command::new("bash").args(["-c", &script]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.trim() == "local", "{said:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::new())
}
