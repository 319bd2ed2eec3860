//! Directories that are gone when the program is, however it ends: one that is killed leaves some,
//! which the next removes.

use std::{
    collections::BTreeSet,
    env, fs, io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;

/// How the names of those for temporary files begin; a process's number follows.
const PREFIX: &str = "godwit-";

/// Those that are there.
static ALL: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A directory, there until dropped.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// For temporary files. Its path is short: that of a socket has at most 107 characters.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self> {
        let temporary = env::temp_dir();
        Self::within(&temporary, &format!("{PREFIX}{}-", std::process::id()))
    }

    /// For what is to be moved from there, complete or not at all, into `parent`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn within(parent: &Path, prefix: &str) -> Result<Self> {
        // Held until it is known, so that no signal comes in between.
        let mut all = all();
        let made = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(parent)
            .with_context(|| format!("cannot write to {}", parent.display()))?;
        all.insert(made.path().to_path_buf());
        Ok(Self(made))
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        all().remove(self.0.path());
    }
}

fn all() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all, before the process ends where it stands. None can be made afterwards.
pub(super) fn remove_all() {
    let all = all();
    for directory in all.iter() {
        // Another thread may be at it.
        let _ = fs::remove_dir_all(directory);
    }
    // Nobody gets at them any more: a thread that would make another one waits here for the end.
    std::mem::forget(all);
}

/// Removes those for temporary files of processes that are no more, and says how many there were.
///
/// # Errors
/// The directory for temporary files cannot be read.
pub fn sweep() -> io::Result<usize> {
    sweep_in(&env::temp_dir())
}

fn sweep_in(temporary: &Path) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(temporary)?.filter_map(io::Result::ok) {
        let name = entry.file_name();
        let owner = name.to_str().and_then(owner);
        let is_gone =
            owner.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH));
        // One of somebody else's stays.
        if is_gone && fs::remove_dir_all(entry.path()).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

/// Whose directory it is, by its name.
fn owner(name: &str) -> Option<Pid> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Pid::from_raw(pid.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_known_until_it_is_dropped() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.to_path_buf();
        assert!(path.is_dir() && all().contains(&path));
        drop(scratch);
        assert!(!path.exists() && !all().contains(&path));
    }

    #[test]
    fn what_a_killed_process_has_left_is_swept() {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id();
        child.wait().unwrap();
        let make = |name: String| {
            let path = temporary.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let [left, ours, other] = [
            make(format!("godwit-{gone}-x")),
            make(format!("godwit-{}-x", std::process::id())),
            make("godwit-x".into()),
        ];
        assert_eq!(sweep_in(temporary.path()).unwrap(), 1);
        assert!(!left.exists() && ours.exists() && other.exists());
    }
}
