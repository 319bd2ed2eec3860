//! The virtual host's root: `init`, QEMU with its libraries and ROMs, kernel modules.
//!
//! Everything it needs comes along, so the host runs the same wherever the lab is started.

mod cpio;
mod modules;

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use cpio::Archive;

use crate::parts::{HostKernel, Qemu};

/// What QEMU loads when it starts a machine of the lab; the first two for every machine, the
/// others for `-kernel` with a PVH image and with Linux.
pub const FIRMWARE: &[&str] = &["bios-256k.bin", "kvmvapic.bin", "pvh.bin", "linuxboot_dma.bin"];

/// Writes the initramfs of a host with this kernel and this QEMU. The guest is not in it: see
/// [`append_guest`].
///
/// # Errors
/// A part that is missing, by its name, or an `out` that cannot be written.
pub fn write(out: impl Write, init: &Path, qemu: &Qemu, kernel: &HostKernel) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(out));
    let mut add = |path: &str, from: &Path| -> Result<()> {
        let contents = fs::read(from).with_context(|| from.display().to_string())?;
        archive.file(path, &contents).with_context(|| format!("write {path} to the initramfs"))
    };
    add("/init", init)?;
    add(lab_init::QEMU, &qemu.binary)?;
    for library in libraries(&qemu.binary)? {
        add(library.to_str().context("library path")?, &library)?;
    }
    for name in FIRMWARE {
        add(&format!("{}/{name}", lab_init::QEMU_DATA), &qemu.firmware(name)?)?;
    }
    let mut list = String::new();
    for module in modules::collect(&kernel.modules)? {
        let path = format!("/lib/modules/{}.ko", module.name);
        archive.file(&path, &module.object)?;
        list.push_str(format!("{path} {}", module.parameters).trim_end());
        list.push('\n');
    }
    archive.file(lab_init::MODULE_LIST, list.as_bytes())?;
    archive.finish()?;
    Ok(())
}

/// Writes a second archive, to follow the first in the same file, with the guest's image alone:
/// a new guest costs no new initramfs.
///
/// # Errors
/// An image that cannot be read, or an `out` that cannot be written.
pub fn append_guest(out: impl Write, image: &Path) -> Result<()> {
    let contents = fs::read(image).with_context(|| format!("guest image {}", image.display()))?;
    let mut archive = Archive::new(BufWriter::new(out));
    archive.file(lab_init::GUEST_IMAGE, &contents)?;
    archive.finish()?;
    Ok(())
}

/// The shared libraries of a program and its loader, as the dynamic linker of this machine finds
/// them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    ensure!(output.status.success(), "ldd knows nothing about {}", program.display());
    let text = String::from_utf8(output.stdout)?;
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
}
