//! Directories that are gone when the program is, however it ends: one that is killed leaves some,
//! which the next removes.
//!
//! Whoever has one holds a lock on it (flock(2)), which the kernel takes from a process that ends.
//! A process's number would not do: those of a container mean nothing to another that shares the
//! directory for temporary files.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// How the names of those for temporary files begin.
const PREFIX: &str = "godwit-run-";

/// One that is as young may be about to be locked.
const YOUNG: Duration = Duration::from_secs(60);

/// Those that are there.
static ALL: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A directory, there until dropped.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    /// For temporary files. Its path is short: that of a socket has at most 107 characters.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self> {
        Self::within(&env::temp_dir(), PREFIX)
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
        let lock = File::open(made.path()).and_then(|lock| {
            lock.try_lock()?;
            Ok(lock)
        });
        let lock = lock.with_context(|| format!("cannot lock {}", made.path().display()))?;
        all.insert(made.path().to_path_buf());
        Ok(Self { directory: made, _lock: lock })
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // With the lock held, so that a signal does not end the process in the middle of it: when
        // its programs are killed, the one that was at work here fails, and comes to this.
        let mut all = all();
        // What is left then, the next one to come removes.
        let _ = fs::remove_dir_all(self.directory.path());
        all.remove(self.directory.path());
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

/// Removes those for temporary files that nobody has any more, and says how many there were.
///
/// # Errors
/// The directory for temporary files cannot be read.
pub fn sweep() -> io::Result<usize> {
    sweep_in(&env::temp_dir(), YOUNG)
}

fn sweep_in(temporary: &Path, young: Duration) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(temporary)?.filter_map(io::Result::ok) {
        let is_one = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        // One of somebody else's stays: it cannot be removed.
        if is_one && age().is_some_and(|age| age >= young) && is_left(&entry.path()) {
            swept += usize::from(fs::remove_dir_all(entry.path()).is_ok());
        }
    }
    Ok(swept)
}

/// Whether it is a directory that nobody has.
fn is_left(path: &Path) -> bool {
    let Ok(directory) = File::open(path) else { return false };
    directory.metadata().is_ok_and(|data| data.is_dir()) && directory.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };

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
    fn a_directory_is_known_until_nothing_of_it_is_left() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.to_path_buf();
        for name in 0..5000 {
            File::create(path.join(name.to_string())).unwrap();
        }
        let dropping = std::thread::spawn(move || drop(scratch));
        while all().contains(&path) {
            std::thread::yield_now();
        }
        assert!(!path.exists(), "a signal now would leave it");
        dropping.join().unwrap();
    }

    #[test]
    fn what_a_killed_process_has_left_is_swept_and_nothing_that_somebody_has() {
        let temporary = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = temporary.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (left, other) = (make("godwit-run-left"), make("godwit-peer-a"));
        let ours = Scratch::within(temporary.path(), PREFIX).unwrap();
        // Whoever has a lock may be in a container, in which processes have other numbers.
        let theirs = make("godwit-run-theirs");
        let mut holder = Command::new("flock");
        let holder = holder.arg(&theirs).args(["sh", "-c", "echo; exec cat"]);
        let holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = holder.spawn().unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();

        assert_eq!(sweep_in(temporary.path(), YOUNG).unwrap(), 0, "one is young");
        assert_eq!(sweep_in(temporary.path(), Duration::ZERO).unwrap(), 1);
        assert!(!left.exists() && other.exists() && ours.exists() && theirs.exists());
        drop(holder.stdin.take());
        holder.wait().unwrap();
        assert_eq!(sweep_in(temporary.path(), Duration::ZERO).unwrap(), 1);
        assert!(!theirs.exists() && ours.exists());
    }
}
