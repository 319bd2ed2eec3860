//! This machine's own hardware, as Linux shows it: what can be given to a guest, and what may not.
//!
//! All is read below a root directory, which is another one in tests.

mod claim;
mod nics;
mod routes;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use claim::{Claim, Take, give_back};
pub use nics::Nic;

/// A machine's hardware.
#[derive(Debug, Clone)]
pub struct Hardware {
    root: PathBuf,
}

impl Hardware {
    /// That of this machine.
    #[must_use]
    pub fn here() -> Self {
        Self::below("/")
    }

    /// What `/sys`, `/proc` and `/dev` below that directory show.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where an absolute path is.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What is in a file, without the blanks around it.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.path(path)).ok()?.trim().to_owned())
    }

    /// The name of what a link leads to.
    fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// The names in a directory, in order; none of one that is not there.
    #[must_use]
    pub fn names(&self, path: &str) -> Vec<String> {
        names(&self.path(path))
    }

    /// Whether there is such a file or directory.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests;
