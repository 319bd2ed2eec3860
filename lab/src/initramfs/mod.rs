//! Linux systems in a file: the virtual host's, with QEMU, its libraries and ROMs, and a guest's to
//! compare with.
//!
//! Everything a system needs comes along, so it runs the same wherever it is started.

mod cpio;
mod modules;

use std::{
    collections::HashSet,
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cpio::Archive;

use crate::{
    parts::{HostKernel, Qemu},
    system::libraries::libraries,
};

/// What QEMU loads when it starts a machine of the lab; the first two for every machine, the
/// others for `-kernel` with a PVH image and with Linux.
pub const FIRMWARE: &[&str] = &["bios-256k.bin", "kvmvapic.bin", "pvh.bin", "linuxboot_dma.bin"];

/// Modules the host needs, with parameters. The emulated IOMMU may lack interrupt remapping,
/// without which VFIO assigns devices only to those who accept that a guest can forge interrupts.
const HOST_MODULES: &[(&str, &str)] = &[
    ("virtio_pci", ""),
    ("virtio_console", ""),
    ("virtio_net", ""),
    ("macvtap", ""),
    ("igb", ""),
    ("kvm_amd", ""),
    ("kvm_intel", ""),
    ("vfio_pci", ""),
    ("vfio_iommu_type1", "allow_unsafe_interrupts=1"),
];

/// Writes the initramfs of a host with this kernel and this QEMU. The guest is not in it: see
/// [`append_guest`].
///
/// # Errors
/// A part that is missing, by its name, or an `out` that cannot be written.
pub fn write(out: impl Write, init: &Path, qemu: &Qemu, kernel: &HostKernel) -> Result<()> {
    write_with(out, init, qemu, kernel, &[], &[])
}

/// The same with more programs and modules.
///
/// # Errors
/// As those of [`write()`].
pub fn write_with(
    out: impl Write,
    init: &Path,
    qemu: &Qemu,
    kernel: &HostKernel,
    programs: &[&Path],
    modules: &[&str],
) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(out));
    add(&mut archive, "/init", init)?;
    let mut libraries = HashSet::new();
    add_program(&mut archive, lab_init::QEMU, &qemu.binary, &mut libraries)?;
    add_programs(&mut archive, programs, &mut libraries)?;
    for name in FIRMWARE {
        add(&mut archive, &format!("{}/{name}", lab_init::QEMU_DATA), &qemu.firmware(name)?)?;
    }
    let more = modules.iter().map(|&name| (name, ""));
    let modules: Vec<_> = HOST_MODULES.iter().copied().chain(more).collect();
    add_modules(&mut archive, kernel, &modules)?;
    archive.finish()?;
    Ok(())
}

/// Writes the initramfs of a Linux guest: `init`, the `programs` with their libraries, and the
/// kernel's `modules`.
///
/// # Errors
/// A part that is missing, by its name, or an `out` that cannot be written.
pub fn write_guest(
    out: impl Write,
    init: &Path,
    kernel: &HostKernel,
    modules: &[&str],
    programs: &[&Path],
) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(out));
    add(&mut archive, "/init", init)?;
    add_programs(&mut archive, programs, &mut HashSet::new())?;
    let modules: Vec<_> = modules.iter().map(|&name| (name, "")).collect();
    add_modules(&mut archive, kernel, &modules)?;
    archive.finish()?;
    Ok(())
}

fn add(archive: &mut Archive<impl Write>, path: &str, from: &Path) -> Result<()> {
    let contents = fs::read(from).with_context(|| from.display().to_string())?;
    archive.file(path, &contents).with_context(|| format!("write {path} to the initramfs"))
}

/// Adds programs where a system looks for them.
fn add_programs(
    archive: &mut Archive<impl Write>,
    programs: &[&Path],
    there: &mut HashSet<PathBuf>,
) -> Result<()> {
    for program in programs {
        let name = program.file_name().and_then(|name| name.to_str()).context("program name")?;
        add_program(archive, &format!("{}/{name}", lab_init::PROGRAMS), program, there)?;
    }
    Ok(())
}

/// Adds a program, and its libraries that are not `there` yet.
fn add_program(
    archive: &mut Archive<impl Write>,
    path: &str,
    program: &Path,
    there: &mut HashSet<PathBuf>,
) -> Result<()> {
    add(archive, path, program)?;
    for library in libraries(program)? {
        if there.insert(library.clone()) {
            add(archive, library.to_str().context("library path")?, &library)?;
        }
    }
    Ok(())
}

/// Adds modules with all they depend on, and the list of them in the order to load.
fn add_modules(
    archive: &mut Archive<impl Write>,
    kernel: &HostKernel,
    wanted: &[(&str, &'static str)],
) -> Result<()> {
    let mut list = String::new();
    for module in modules::collect(&kernel.modules, wanted)? {
        let path = format!("/lib/modules/{}.ko", module.name);
        archive.file(&path, &module.object)?;
        list.push_str(format!("{path} {}", module.parameters).trim_end());
        list.push('\n');
    }
    archive.file(lab_init::MODULE_LIST, list.as_bytes())?;
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

/// The same for a Linux guest: its kernel, and what it starts with.
///
/// # Errors
/// As those of [`append_guest`].
pub fn append_linux(out: impl Write, kernel: &Path, initramfs: &Path) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(out));
    add(&mut archive, lab_init::GUEST_IMAGE, kernel)?;
    add(&mut archive, lab_init::GUEST_INITRAMFS, initramfs)?;
    archive.finish()?;
    Ok(())
}
