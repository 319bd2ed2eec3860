//! The distribution's QEMU: the one that is installed, or else its packages, unpacked but not
//! installed.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    parts::Qemu,
    system::{
        command, debian, paths,
        tools::{self, Tool},
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
/// The mirror does not have it, or this machine lacks libraries that it needs.
pub fn get() -> Result<Qemu> {
    let installed = Path::new("/").join(BINARY);
    if installed.exists() {
        return Ok(Qemu { binary: installed, data: data(|_| "/".into()) });
    }
    let cache = paths::cache()?.join("stock-qemu");
    for package in PACKAGES {
        let tree = cache.join(package);
        if !tree.exists() {
            debian::unpack_package(package, &tree)?;
        }
    }
    // It looks for modules beside itself.
    let modules = cache.join(PACKAGES[0]).join("usr/lib");
    if !modules.exists() {
        symlink(Path::new("../..").join(PACKAGES[1]).join("usr/lib"), &modules)
            .with_context(|| modules.display().to_string())?;
    }
    let binary = cache.join(PACKAGES[0]).join(BINARY);
    // Its libraries are other packages, of which a machine that builds QEMU has most.
    let runs = command::run(Command::new(&binary).arg("--version"));
    if runs.is_err() {
        tools::require("stock QEMU", &[Tool::program("qemu-system-x86_64", PACKAGES[0])])?;
        return Ok(Qemu { binary: installed, data: data(|_| "/".into()) });
    }
    Ok(Qemu { binary, data: data(|package| cache.join(package)) })
}

fn data(root: impl Fn(&str) -> PathBuf) -> Vec<PathBuf> {
    DATA.map(|(package, folder)| root(package).join(folder)).into()
}
