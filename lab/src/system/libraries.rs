//! The shared libraries of programs.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// What loads programs (System V ABI, AMD64 supplement), and lists what it would load.
pub const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// What a program's file begins with (System V ABI, chapter 4).
const ELF: &[u8; 4] = b"\x7fELF";

/// The shared libraries of a program and its loader, as the dynamic linker of this machine finds
/// them. A program that is linked statically has none.
///
/// # Errors
/// One of them is missing, or it is no program.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let loader = |word: &str| {
        let output = Command::new(LOADER).arg(word).arg(program).output();
        output.with_context(|| format!("cannot start {LOADER}"))
    };
    // It crashes when it is to list what some static programs load, so it is asked first.
    if !loader("--verify")?.status.success() {
        let mut magic = [0; ELF.len()];
        let is_read = File::open(program).and_then(|mut file| file.read_exact(&mut magic));
        is_read.with_context(|| program.display().to_string())?;
        ensure!(magic == *ELF, "{} is no program", program.display());
        return Ok(Vec::new());
    }
    let output = loader("--list")?;
    let text = String::from_utf8(output.stdout)?;
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
    fn what_is_no_program_is_an_error() {
        let error = libraries(Path::new("/etc/passwd")).unwrap_err().to_string();
        assert_eq!(error, "/etc/passwd is no program");
    }

    #[test]
    fn a_program_that_is_linked_statically_has_none() {
        // Static as busybox is, with the least that a program can have.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), static_program()).unwrap();
        assert!(libraries(file.path()).unwrap().is_empty());
    }

    /// The header of an executable file for x86-64 with nothing to load.
    fn static_program() -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..4].copy_from_slice(ELF);
        // 64 bits, little endian, version 1; executable, x86-64, version 1.
        header[4..7].copy_from_slice(&[2, 1, 1]);
        header[16..24].copy_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
        // Lengths of this header and of a program header.
        header[52..56].copy_from_slice(&[64, 0, 56, 0]);
        header
    }
}
