//! Firmware and ROMs: no part of the build, and of Debian's tarball neither.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{initramfs, system::debian};

/// The packages that have what our own are: that of the machine, and that of devices.
pub const PACKAGES: [&str; 2] = ["seabios", "qemu-system-data"];
/// The package with the ROMs of NICs.
const NIC_ROMS: &str = "ipxe-qemu";

/// What our QEMU needs.
pub(super) const OURS: &[&str] = initramfs::FIRMWARE;
/// What QEMU's own tests want besides: they start NICs as people do, with ROMs.
pub(super) const OF_NICS: &[&str] = &["efi-e1000.rom", "efi-e1000e.rom", "efi-virtio.rom"];

/// Where the packages have them.
const FOLDERS: [&str; 3] = ["usr/share/seabios", "usr/share/qemu", "usr/lib/ipxe/qemu"];

/// Puts the files of these names into `data`: those of the tarball if it has them, else the
/// distribution's, installed or not. What is there already stays.
pub(super) fn gather(names: &[&str], source: &Path, packages: &Path, data: &Path) -> Result<()> {
    fs::create_dir_all(data)?;
    for name in names {
        if data.join(name).exists() {
            continue;
        }
        let package = package_of(name);
        let unpacked = packages.join(package);
        let places = |root: &Path| FOLDERS.map(|folder| root.join(folder).join(name));
        let mut candidates = vec![source.join("pc-bios").join(name)];
        candidates.extend(places(Path::new("/")));
        candidates.extend(places(&unpacked));
        let find = || candidates.iter().find(|path| path.is_file());
        let mut found = find();
        if found.is_none() && !unpacked.exists() {
            debian::unpack_package(package, &unpacked)
                .with_context(|| format!("QEMU needs {name} from the package {package}"))?;
            found = find();
        }
        let found = found.with_context(|| format!("the package {package} has no {name}"))?;
        fs::copy(found, data.join(name)).with_context(|| found.display().to_string())?;
    }
    Ok(())
}

fn package_of(name: &str) -> &'static str {
    match name {
        name if name.starts_with("bios") => PACKAGES[0],
        name if name.starts_with("efi-") => NIC_ROMS,
        _ => PACKAGES[1],
    }
}
