//! Tests one after the other, a line each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{command, paths};

/// How much of a log a failure shows.
const TAIL: usize = 30;

/// Counts outcomes and keeps logs.
pub(super) struct Suite {
    passed: u64,
    failed: Vec<String>,
    logs: PathBuf,
    filter: String,
}

impl Suite {
    /// Starts with an empty directory of logs.
    pub(super) fn new(filter: Option<String>) -> Result<Self> {
        let logs = paths::target().join("test-logs");
        if logs.exists() {
            fs::remove_dir_all(&logs).with_context(|| logs.display().to_string())?;
        }
        fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        Ok(Self { passed: 0, failed: Vec::new(), logs, filter: filter.unwrap_or_default() })
    }

    /// The log of a test, or `None` if the filter leaves it out.
    pub(super) fn log(&self, name: &str) -> Option<PathBuf> {
        let file = format!("{}.log", name.replace([' ', '/', ':', '='], "-"));
        name.contains(&self.filter).then(|| self.logs.join(file))
    }

    /// Runs a test unless the filter leaves it out, and tells whether it did not fail. It may write to the log it is given, and returns
    /// what is worth saying about its success.
    pub(super) fn test(&mut self, name: &str, body: impl FnOnce(&Path) -> Result<String>) -> bool {
        let Some(log) = self.log(name) else { return true };
        let started = Instant::now();
        let outcome = body(&log);
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(remark) => {
                self.passed += 1;
                let separator = if remark.is_empty() { "" } else { ": " };
                println!("test {name} ... ok{separator}{remark} ({seconds:.1} s)");
                true
            }
            Err(error) => {
                println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}");
                self.failed.push(name.into());
                if log.exists() {
                    let text = fs::read(&log).unwrap_or_default();
                    let tail = command::tail(&String::from_utf8_lossy(&text), TAIL);
                    println!("  the end of {}:\n{tail}", log.display());
                }
                false
            }
        }
    }

    /// Says what came out, in the end as `N passed, N failed`.
    pub(super) fn finish(self) -> ExitCode {
        println!();
        for name in &self.failed {
            println!("failed: {name}");
        }
        if self.passed == 0 && self.failed.is_empty() {
            println!("no test has {:?} in its name", self.filter);
        }
        println!("logs: {}", self.logs.display());
        println!("{} passed, {} failed", self.passed, self.failed.len());
        if self.failed.is_empty() && self.passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
