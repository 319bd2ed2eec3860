//! The shared libraries of programs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// What loads programs (System V ABI, AMD64 supplement), and lists what it would load.
pub const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// The shared libraries of a program and its loader, as the dynamic linker of this machine finds
/// them. A program that is linked statically has none.
///
/// # Errors
/// One of them is missing, or it is no program.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new(LOADER).arg("--list").arg(program).output();
    let output = output.with_context(|| format!("cannot start {LOADER}"))?;
    let text = String::from_utf8(output.stdout)?;
    if text.trim() == "statically linked" {
        return Ok(Vec::new());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", program.display(), said.trim_end());
    let mut libraries = Vec::new();
    for line in text.lines().map(str::trim) {
        // "libz.so.1 => /lib/…/libz.so.1 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)", or the vDSO,
        // which is no file.
        let place = line.split_once("=> ").map_or(line, |(_, place)| place);
        if place.starts_with("not found") {
            bail!("{}: {line}", program.display());
        }
        if let Some(path) = place.split(" (").next().filter(|path| path.starts_with('/')) {
            libraries.push(path.into());
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_include_the_loader() {
        let libraries = libraries(Path::new("/bin/sh")).unwrap();
        let has = |part: &str| libraries.iter().any(|path| path.to_string_lossy().contains(part));
        assert!(has("libc.so") && has("ld-linux"), "{libraries:?}");
        assert!(libraries.iter().all(|path| path.is_file()), "{libraries:?}");
    }

    #[test]
    fn what_is_no_program_has_none() {
        assert!(libraries(Path::new("/etc/passwd")).is_err());
    }
}
