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
        command, debian, lock,
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

/// Which of the two it is: the directory in the cache, and what is said where it cannot be had.
struct Which {
    directory: &'static str,
    name: &'static str,
    remedy: &'static str,
}

const DISTRIBUTIONS: Which = Which {
    directory: "stock-qemu",
    name: "stock QEMU is not installed",
    remedy: "apt-get install qemu-system-x86; or have the mirror reached, or put the package's \
             file into $GODWIT_DOWNLOADS",
};
const OF_BACKPORTS: Which = Which {
    directory: "backports-qemu",
    name: "the QEMU of backports is not in the cache",
    remedy: "have a mirror reached that has the distribution's backports; or use --qemu stock",
};

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
    let unpacked = unpacked(&DISTRIBUTIONS, debian::archive)?;
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
    let unpacked = unpacked(&OF_BACKPORTS, |package, directory| {
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
fn unpacked(which: &Which, archive: impl Fn(&str, &Path) -> Result<PathBuf>) -> Result<Qemu> {
    let cache = debian::place(which.directory)?;
    // Two tests may want it at the same time.
    let _lock = lock::wait(which.directory)?;
    for package in PACKAGES {
        let tree = cache.join(package);
        if !tree.exists() {
            let scratch = Scratch::new()?;
            let archive = archive(package, &scratch);
            debian::unpack(&archive.map_err(|error| without(which, package, error))?, &tree)?;
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
fn without(which: &Which, package: &str, error: Error) -> Error {
    if command::is_full_disk(&error) {
        return error;
    }
    let Which { name, remedy, .. } = which;
    Missing::new(format!(
        "{name}, and its package {package} cannot be had; try:\n    {remedy}\n{error:#}"
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
        for (which, name, remedy) in [
            (DISTRIBUTIONS, "stock QEMU", "apt-get install"),
            (OF_BACKPORTS, "QEMU of backports", "--qemu stock"),
        ] {
            let error = anyhow!("apt-get failed").context("downloading");
            let error = without(&which, "seabios", error);
            let said = error.to_string();
            assert!(error.is::<Missing>() && said.contains("seabios"), "{said}");
            assert!(said.contains(name) && said.contains(remedy), "{said}");
        }
        let full = without(&DISTRIBUTIONS, "seabios", anyhow!("{}", command::FULL_DISK));
        assert!(!full.is::<Missing>() && command::is_full_disk(&full));
    }
}
