//! What is done again when the lab's host crashed under it.

use std::{fs, path::Path};

use anyhow::{Error, Result};

use super::{
    crash::Crashed,
    stage::{HOST_LOG, HOST_STATE},
};
use crate::result::Crash;

/// How often the lab is started over when its host crashes.
const RESTARTS: usize = 2;

/// Does `what`, whose lab has its logs there, and again if its error is the emulated host's, which
/// `behind` tells. Returns the crashes after which it was done again with what came of it.
pub(super) fn if_the_lab_crashes<T>(
    logs: &Path,
    behind: impl Fn(&Error) -> Option<Crash>,
    what: impl FnMut() -> Result<T>,
) -> (Result<T>, Vec<Crash>) {
    let mut crashes = Vec::new();
    (repeat(logs, behind, what, &mut crashes), crashes)
}

fn repeat<T>(
    logs: &Path,
    behind: impl Fn(&Error) -> Option<Crash>,
    mut what: impl FnMut() -> Result<T>,
    crashes: &mut Vec<Crash>,
) -> Result<T> {
    loop {
        let error = match what() {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        let Some(crash) = behind(&error) else { return Err(error) };
        if crashes.len() == RESTARTS {
            return Err(error.context(Crashed(crash.what)));
        }
        let kept = logs.join(format!("host-crash-{}.log", crashes.len() + 1));
        fs::rename(logs.join(HOST_LOG), &kept)?;
        let state = logs.join(HOST_STATE);
        if state.exists() {
            fs::rename(state, kept.with_extension("state"))?;
        }
        let why = &crash.what;
        eprintln!("The lab's host crashed ({why}, {}): starting over.", kept.display());
        crashes.push(crash);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::result::CrashCause;

    #[test]
    fn it_is_done_again_so_often_and_only_after_a_crash_and_none_is_forgotten() {
        let logs = tempfile::tempdir().unwrap();
        let behind = |error: &Error| {
            let what = error.to_string();
            what.contains("host").then_some(Crash { cause: CrashCause::Host, what })
        };
        let run = |succeeds_at: usize, why: &str| {
            let mut times = 0;
            let (done, crashes) = if_the_lab_crashes(logs.path(), behind, || {
                times += 1;
                fs::write(logs.path().join(HOST_LOG), "")?;
                if times < succeeds_at { bail!("{why}") } else { Ok(times) }
            });
            (done.ok(), crashes.len())
        };
        assert_eq!(run(1, "the host"), (Some(1), 0));
        assert_eq!(run(3, "the host"), (Some(3), 2));
        assert_eq!(run(4, "the host"), (None, 2));
        assert_eq!(run(2, "the guest"), (None, 0));
    }
}
