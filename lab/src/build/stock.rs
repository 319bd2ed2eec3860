//! The distribution's QEMU: the one that is installed, or else its packages, unpacked but not
//! installed; and that of its backports.

use std::{
    cell::OnceCell,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Error, Result};

use crate::{
    parts::Qemu,
    system::{
        backports::Backports,
        command, debian, paths,
        scratch::Scratch,
        tools::{self, Missing, Tool},
    },
};

/// What runs a machine: the program, its modules, such as TCG, and what a machine loads.
pub const PACKAGES: [&str; 4] =
    ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
/// Where the packages have that.
const BINARY: &str = "usr/bin/qemu-system-x86_64";
const DATA: [(&str, &str); 2] =
    [("qemu-system-data", "usr/share/qemu"), ("seabios", "usr/share/seabios")];

/// It, downloaded now if need be.
///
/// # Errors
/// [`Missing`] if the mirror cannot be asked or does not have it, or if this machine lacks
/// libraries that it needs; or it cannot be unpacked.
pub fn get() -> Result<Qemu> {
    let installed = Path::new("/").join(BINARY);
    if installed.exists() {
        return Ok(Qemu { binary: installed, data: data(|_| "/".into()) });
    }
    let unpacked = unpacked("stock-qemu", debian::archive)?;
    // Its libraries are other packages, of which a machine that builds QEMU has most.
    if command::run(Command::new(&unpacked.binary).arg("--version")).is_err() {
        tools::require("stock QEMU", &[Tool::program("qemu-system-x86_64", PACKAGES[0])])?;
        return Ok(Qemu { binary: installed, data: data(|_| "/".into()) });
    }
    Ok(unpacked)
}

/// The newer one of the distribution's backports, downloaded now if need be.
///
/// # Errors
/// [`Missing`] as well if the distribution has no backports, or they have no QEMU.
pub fn backports() -> Result<Qemu> {
    let opened = OnceCell::new();
    let unpacked = unpacked("backports-qemu", |package, directory| {
        if opened.get().is_none() {
            let _ = opened.set(Backports::open()?);
        }
        opened.get().context("they were just opened")?.download(package, directory)
    })?;
    command::run(Command::new(&unpacked.binary).arg("--version")).map_err(|error| {
        Missing::new(format!("the QEMU of backports does not run on this machine: {error:#}"))
    })?;
    Ok(unpacked)
}

/// The one in a directory of the cache, where `archive` has a package's file from if need be.
fn unpacked(name: &str, archive: impl Fn(&str, &Path) -> Result<PathBuf>) -> Result<Qemu> {
    let cache = paths::cache()?.join(name);
    for package in PACKAGES {
        let tree = cache.join(package);
        if !tree.exists() {
            let scratch = Scratch::new()?;
            let archive = archive(package, &scratch);
            debian::unpack(&archive.map_err(|error| without(package, error))?, &tree)?;
        }
    }
    // It looks for modules beside itself.
    let modules = cache.join(PACKAGES[0]).join("usr/lib");
    if !modules.exists() {
        symlink(Path::new("../..").join(PACKAGES[1]).join("usr/lib"), &modules)
            .with_context(|| modules.display().to_string())?;
    }
    let binary = cache.join(PACKAGES[0]).join(BINARY);
    Ok(Qemu { binary, data: data(|package| cache.join(package)) })
}

/// What it means that a package cannot be had: a machine without a network lacks it, as others lack
/// a program. A full disk is something else.
fn without(package: &str, error: Error) -> Error {
    if command::is_full_disk(&error) {
        return error;
    }
    Missing::new(format!(
        "stock QEMU is not installed, and its package {package} cannot be had: {error:#}"
    ))
    .into()
}

fn data(root: impl Fn(&str) -> PathBuf) -> Vec<PathBuf> {
    DATA.map(|(package, folder)| root(package).join(folder)).into()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_package_that_cannot_be_had_is_missing_unless_the_disk_is_full() {
        let error = without("seabios", anyhow!("apt-get failed").context("downloading"));
        assert!(error.is::<Missing>() && error.to_string().contains("seabios"), "{error}");
        let full = without("seabios", anyhow!("{}", command::FULL_DISK));
        assert!(!full.is::<Missing>() && command::is_full_disk(&full));
    }
}
