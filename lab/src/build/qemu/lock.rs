//! One build of QEMU at a time.

use std::{fs::File, path::Path};

use anyhow::{Context, Result};

use crate::system::paths;

const LOCK: &str = "qemu.lock";

/// The lock of builds, if none is running.
///
/// # Errors
/// One is.
pub fn lock() -> Result<File> {
    let lock = File::create(paths::cache()?.join(LOCK))?;
    lock.try_lock().context("a build of QEMU is running: let it end first")?;
    Ok(lock)
}

/// Waits for it. Whoever has it may clear away what a killed build left.
pub(super) fn wait(cache: &Path) -> Result<File> {
    let path = cache.join(LOCK);
    let lock = File::create(&path).with_context(|| path.display().to_string())?;
    if lock.try_lock().is_err() {
        eprintln!("Waiting for another build of QEMU to end ...");
        lock.lock().with_context(|| path.display().to_string())?;
    }
    Ok(lock)
}
