//! Where things are: the checkout, the cache, downloads.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The checkout this tool was built from.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("lab/ lies in the checkout")
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => checkout().join(directory),
        None => checkout().join("target"),
    }
}

/// What outlives the checkout: `$GODWIT_CACHE`, else `godwit` in the user's cache directory (XDG
/// Base Directory Specification). Created when missing.
pub fn cache() -> Result<PathBuf> {
    let directory = if let Some(directory) = set("GODWIT_CACHE") {
        directory
    } else if let Some(directory) = set("XDG_CACHE_HOME") {
        directory.join("godwit")
    } else if let Some(home) = set("HOME") {
        home.join(".cache/godwit")
    } else {
        bail!("no cache directory: set GODWIT_CACHE (or HOME)")
    };
    fs::create_dir_all(&directory).with_context(|| {
        format!(
            "cannot create the cache {}; set GODWIT_CACHE to a directory you can write to",
            directory.display()
        )
    })?;
    // Not every tool that gets this path runs in this directory.
    fs::canonicalize(&directory).with_context(|| directory.display().to_string())
}

/// Bytes of a file, or of all that is in a directory.
pub fn size(path: &Path) -> u64 {
    // What goes meanwhile has none.
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}

/// Removes directories, and says how many bytes that frees.
pub fn remove_all(directories: impl IntoIterator<Item = PathBuf>) -> Result<u64> {
    let mut freed = 0;
    for directory in directories {
        freed += size(&directory);
        fs::remove_dir_all(&directory).with_context(|| directory.display().to_string())?;
    }
    Ok(freed)
}

/// A directory with files somebody downloaded before: `$GODWIT_DOWNLOADS`.
pub fn downloads() -> Option<PathBuf> {
    set("GODWIT_DOWNLOADS")
}

/// A path variable; empty counts as unset.
fn set(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
