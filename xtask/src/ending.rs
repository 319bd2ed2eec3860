//! How the tool ends: its exit status, and what the file of `--json` says of an error. Scripts
//! depend on both.

use std::{
    error::Error,
    fmt, fs,
    path::Path,
    process::{ExitCode, Termination},
};

use anyhow::{Context, Result};
use lab::{rehearsal, system::tools::Missing};
use serde_json::json;

/// Printed below `cargo xtask --help`.
pub(crate) const STATUSES: &str = "Exit status:
  0    it came out as asked
  1    it did not, or an error
  2    the command line makes no sense
  3    data is stale that should not be
  4    the fault is this machine's or the lab's: something is missing, the lab's host crashed, or
       others used the machine while something was measured in its time
  124  `run --timeout`: the time is over
  129, 130, 143  ended by a terminal that closed, by Ctrl-C, or by `kill`";

/// What came out, where no error did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What was asked for.
    AsAsked,
    /// Something else.
    Failed,
    /// What a device wrote was not on the destination, and nobody had asked for that.
    Stale,
    /// Something else, while others used the machine that it was measured on.
    Disturbed,
    /// `run --timeout` is over, as timeout(1) has it.
    TimedOut,
    /// A guest's own status.
    Guest(u8),
}

impl Termination for Ending {
    fn report(self) -> ExitCode {
        ExitCode::from(match self {
            Self::AsAsked => 0,
            Self::Failed => 1,
            Self::Stale => 3,
            Self::Disturbed => 4,
            Self::TimedOut => 124,
            Self::Guest(status) => status,
        })
    }
}

/// A command line that makes no sense.
#[derive(Debug)]
pub(crate) struct Usage(anyhow::Error);

impl Usage {
    /// As `map_err` wants it.
    pub(crate) fn wrap(error: anyhow::Error) -> anyhow::Error {
        Self(error).into()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl Error for Usage {}

/// The exit status that goes with an error.
pub(crate) fn status_of(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        2
    } else if error.is::<Missing>() || rehearsal::is_of_the_lab(error) {
        4
    } else {
        1
    }
}

/// Makes the file that the result is to be in, before the work is done: it says that there is none
/// yet.
///
/// # Errors
/// It cannot be written.
pub(crate) fn begin_json(path: &Path) -> Result<()> {
    write_error(path, "it was ended before there was a result", 1)
        .with_context(|| format!("--json {}", path.display()))
        .map_err(Usage::wrap)
}

/// Says in that file that there is an error instead of a result.
pub(crate) fn write_error(path: &Path, error: &str, status: u8) -> Result<()> {
    let value = json!({ "error": error, "exit_status": status });
    Ok(fs::write(path, serde_json::to_string_pretty(&value)? + "\n")?)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn errors_have_their_status() {
        let usage = Usage::wrap(anyhow!("inner").context("outer"));
        assert_eq!(usage.to_string(), "outer: inner");
        assert_eq!(status_of(&usage), 2);
        assert_eq!(status_of(&anyhow!("else")), 1);
        let missing = anyhow::Error::from(Missing::new("a program".into()));
        assert_eq!(status_of(&missing.context("more")), 4);
    }

    #[test]
    fn a_result_that_cannot_be_written_is_found_first() {
        let error = begin_json(Path::new("/nonexistent/result.json")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/result.json"), "{error}");
        assert_eq!(status_of(&error), 2);
    }
}
