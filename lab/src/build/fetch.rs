//! Everything from elsewhere, in a directory for machines without a network.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::{crates, host_kernel, qemu, stock};
use crate::system::{command, debian, paths, progress::Step};

/// The package whose one program is a DHCP client and a shell for Linux as a guest.
pub const BUSYBOX: &str = "busybox-static";
/// The package that has UEFI for machines.
pub const OVMF: &str = "ovmf";

/// Where our dependencies go, and what tells cargo that they are there.
const CRATES: &str = "crates";
const CARGO_CONFIG: &str = "cargo-config.toml";

/// Fills `downloads`.
///
/// # Errors
/// Something cannot be downloaded, or the directory not be written to.
pub fn fetch(downloads: &Path) -> Result<()> {
    fs::create_dir_all(downloads).with_context(|| downloads.display().to_string())?;
    let downloads = fs::canonicalize(downloads)?;
    qemu::fetch(&downloads)?;
    let kernels = host_kernel::names()?;
    // The index may name what the mirror has dropped.
    let kernel = kernels.iter().any(|name| package(name, &downloads).is_ok());
    ensure!(kernel, "the Debian mirror of this machine has none of {}", kernels.join(", "));
    for name in qemu::PACKAGES.iter().chain(&stock::PACKAGES).chain([&BUSYBOX, &OVMF]) {
        package(name, &downloads)?;
    }
    vendor(&downloads)
}

/// A package, unless it is there.
fn package(name: &str, downloads: &Path) -> Result<()> {
    if debian::file_in(downloads, name).is_none() {
        debian::download(name, downloads)?;
    }
    Ok(())
}

fn vendor(downloads: &Path) -> Result<()> {
    let step = Step::new("Copying the crates that Godwit depends on");
    let place = downloads.join(CRATES);
    let mut cargo = crates::cargo();
    cargo.args(["vendor", "--locked", "--quiet"]).arg(&place).current_dir(paths::checkout());
    command::run(&mut cargo)?;
    let config = downloads.join(CARGO_CONFIG);
    let text = format!(
        "[source.crates-io]\nreplace-with = \"godwit\"\n\n[source.godwit]\ndirectory = {:?}\n",
        place.display().to_string()
    );
    fs::write(&config, text).with_context(|| config.display().to_string())?;
    step.finish(format_args!("{} MiB", paths::size(&place) >> 20));
    Ok(())
}

/// What the machine without a network is to do with it.
#[must_use]
pub fn instructions(downloads: &Path) -> String {
    format!(
        "On the machine without a network, with the directory in the same place:\n    \
         mkdir -p ~/.cargo && cp {0}/{CARGO_CONFIG} ~/.cargo/config.toml\n    \
         export GODWIT_DOWNLOADS={0}\n\
         It needs Rust with the targets {1}, and from its distribution {2}.",
        downloads.display(),
        crates::TARGETS.join(" and "),
        qemu::TOOLS.iter().map(|tool| tool.package).collect::<Vec<_>>().join(", "),
    )
}
