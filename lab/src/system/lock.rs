//! One at a time, of all threads and processes that share the cache.

use std::fs::File;

use anyhow::{Context, Result};

use super::paths;

/// Has the lock of that name, until this is dropped.
///
/// Whoever holds it and asks for it again waits for ever: it is of the open file (flock(2)), not of
/// the process.
///
/// # Errors
/// The cache cannot be written to.
pub fn wait(name: &str) -> Result<File> {
    let path = paths::cache()?.join(format!("{name}.lock"));
    let lock = File::create(&path).with_context(|| path.display().to_string())?;
    if lock.try_lock().is_err() {
        eprintln!("Waiting for another process or test to be done with {name} ...");
        lock.lock().with_context(|| path.display().to_string())?;
    }
    Ok(lock)
}
