//! Lines that are too long to read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Columns a line may take, as in `rustfmt.toml`, which leaves comments and texts as they are.
pub const COLUMNS: usize = 100;

/// Every line of a `.rs` file in `folder` that is longer, as `FILE:LINE: N columns`. What cargo
/// built, and folders whose name begins with a dot, are passed by.
///
/// # Errors
/// Something in the folder cannot be read.
pub fn too_long(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in sources(folder)? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for (number, line) in (1..).zip(text.lines()) {
            let columns = line.chars().count();
            if columns > COLUMNS {
                found.push(format!("{}:{number}: {columns} columns", file.display()));
            }
        }
    }
    Ok(found)
}

/// Every `.rs` file below `folder`, in order.
pub(crate) fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_are_longer_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("fits.rs", &format!("{}\n", "é".repeat(COLUMNS)));
        write("long.rs", &format!("\n//{}\n", "é".repeat(COLUMNS)));
        write("long.txt", &"x".repeat(COLUMNS + 1));
        for passed in ["target", ".git"] {
            fs::create_dir(folder.path().join(passed)).unwrap();
            write(&format!("{passed}/long.rs"), &"x".repeat(COLUMNS + 1));
        }
        let found = too_long(folder.path()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("long.rs:2: 102 columns"), "{found:?}");
    }
}
