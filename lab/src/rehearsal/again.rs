//! What is done again when the lab's host crashed under it.

use std::{fs, path::Path};

use anyhow::Result;

use super::{
    crash::{self, Crashed},
    parts::Place,
    stage::{HOST_LOG, HOST_STATE},
};
use crate::result::Crash;

/// How often the lab is started over when its host crashes.
const RESTARTS: usize = 2;

/// Does `what`, whose lab has its logs there, and again if its error is the emulated host's.
/// Returns the crashes with what came of it.
pub(super) fn if_the_lab_crashes<T>(
    logs: &Path,
    place: &Place,
    mut what: impl FnMut() -> Result<T>,
) -> Result<(T, Vec<Crash>)> {
    let mut crashes = Vec::new();
    loop {
        let error = match what() {
            Ok(result) => return Ok((result, crashes)),
            Err(error) => error,
        };
        let Some(crash) = crash::behind(&error, logs, place) else {
            return Err(error);
        };
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
