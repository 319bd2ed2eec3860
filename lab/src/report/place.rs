//! The directory that a report is written to, by one run at a time.

use anyhow::{Context, Result, bail};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Locked by the run that writes there. That it is there tells that the rest is ours.
const MARK: &str = ".godwit";
/// In it, besides the files of [`FILES`].
const LOGS: &str = "logs";
pub(super) const RESULT: &str = "result.json";
pub(super) const PLOT: &str = "throughput.svg";
pub(super) const SECOND_PLOT: &str = "throughput-second.svg";
pub(super) const GAP_PLOT: &str = "gap.svg";
pub(super) const PAGE: &str = "index.html";
/// What a soak came to.
const SOAK: &str = "soak.json";
const FILES: [&str; 6] = [RESULT, PLOT, SECOND_PLOT, GAP_PLOT, PAGE, SOAK];

/// The directory, for as long as nobody else may write there.
#[derive(Debug)]
pub struct Place {
    directory: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the directory, which is made if there is none, and removes an earlier report.
    ///
    /// # Errors
    /// Another run has it, or it cannot be written to.
    pub fn take(directory: &Path) -> Result<Self> {
        let place = || directory.display().to_string();
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", place()))?;
        let mark = directory.join(MARK);
        let is_ours = mark.exists();
        let lock = File::create(&mark).with_context(|| format!("cannot write to {}", place()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another run is writing its report to {}: name another directory with --report",
                place()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(place),
        }
        if is_ours {
            let removed = FILES.iter().map(|name| fs::remove_file(directory.join(name)));
            for result in removed.chain([fs::remove_dir_all(directory.join(LOGS))]) {
                match result {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(error).with_context(place);
                    }
                    _ => {}
                }
            }
        }
        Ok(Self { directory: directory.into(), _lock: lock })
    }

    /// What the page links to, as paths from it: all in the logs, in their order.
    pub(super) fn files(&self) -> Vec<String> {
        let mut folders = vec![PathBuf::from(LOGS)];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            // A folder that is not there has no files.
            let entries = fs::read_dir(self.directory.join(&folder)).into_iter().flatten();
            for entry in entries.flatten() {
                let path = folder.join(entry.file_name());
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    _ => files.push(path.display().to_string()),
                }
            }
        }
        files.sort();
        files
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the result of a soak is.
    pub fn soak(&self) -> PathBuf {
        self.directory.join(SOAK)
    }

    /// Where logs go.
    pub fn logs(&self) -> PathBuf {
        self.directory.join(LOGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_has_it_at_a_time_and_nothing_of_an_earlier_one_stays() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("notes");
        let page = directory.path().join(PAGE);
        fs::write(&other, "somebody's").unwrap();
        fs::write(&page, "somebody's").unwrap();
        let place = Place::take(directory.path()).unwrap();
        assert!(page.exists(), "the directory was not ours then");
        let error = Place::take(directory.path()).unwrap_err().to_string();
        assert!(error.contains("--report"), "{error}");
        fs::create_dir(place.logs()).unwrap();
        let logs = place.logs();
        drop(place);
        let _place = Place::take(directory.path()).unwrap();
        assert!(other.exists() && !page.exists() && !logs.exists());
    }
}
