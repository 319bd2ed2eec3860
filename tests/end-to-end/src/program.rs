//! Programs that tests run, with what they say in the test's log.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use lab::{build::crates, system::progress::Step};

/// Runs a command with its output in `log`, and shows how far it has come by what is there.
pub(crate) fn logged(
    command: &mut Command,
    log: &Path,
    title: &str,
    so_far: impl Fn(&str) -> String,
) -> Result<ExitStatus> {
    let mut step = Step::new(title);
    let out = File::create(log).with_context(|| log.display().to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let text = fs::read(log)?;
        step.message(so_far(&String::from_utf8_lossy(&text)));
        thread::sleep(Duration::from_millis(200));
    }
}

/// `cargo xtask`, to be given a command.
pub(crate) fn xtask() -> Result<Command> {
    Ok(Command::new(crates::xtask()?))
}
