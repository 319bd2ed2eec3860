//! Booted by UEFI firmware from a disk, on each kind of controller that firmware knows.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use lab::{
    build::{crates, fetch::OVMF, qemu},
    guest::{Guest, READY},
    system::{command, debian},
};

use crate::{
    program::xtask,
    suite::{MINUTES, Skipped, Suite},
};

/// Where its package has the firmware.
const FIRMWARE: &str = "usr/share/ovmf/OVMF.fd";
/// Firmware in software takes its time.
const PATIENCE: Duration = Duration::from_secs(180);

/// What boots, in which format it is made, and how a machine has it. `ide.0` is SATA on q35, and
/// the IDE of old on pc.
const MEDIA: [(&str, &str, &str); 4] = [
    ("a disk on virtio-blk", "disk", "-device virtio-blk-pci,drive=disk,bootindex=0"),
    ("a disk on SATA", "disk", "-device ide-hd,drive=disk,bus=ide.0,bootindex=0"),
    ("a disk on USB", "disk", "-device qemu-xhci -device usb-storage,drive=disk,bootindex=0"),
    ("a CD", "iso", "-device ide-cd,drive=disk,bus=ide.0,bootindex=0"),
];

pub(crate) fn add(suite: &mut Suite, long: bool) {
    for (name, format, options) in MEDIA {
        suite.test(&format!("{name} boots by UEFI"), MINUTES, move |log| {
            boots(log, "q35", format, options)
        });
        // The firmware is the same; the controller and the bus are others.
        if long || name == "a CD" {
            let name = name.replace("SATA", "IDE");
            suite.test(&format!("{name} boots by UEFI on pc"), MINUTES, move |log| {
                boots(log, "pc", format, options)
            });
        }
    }
    suite.test("the kernel cannot run data when UEFI has booted it", MINUTES, data_cannot_be_run);
}

fn boots(log: &Path, machine: &str, format: &str, options: &str) -> Result<String> {
    let disk = log.with_extension("disk");
    let append = "log=debug";
    let image = ["image", "--format", format, "--append", append, "--out"];
    command::run(xtask()?.args(image).arg(&disk))?;
    let mut guest = start(log, machine, &disk, options)?;
    let ready = guest.wait_so_long_for(READY, PATIENCE)?;
    let heard = guest.console().contains("DEBUG");
    ensure!(heard, "its command line is not that of the disk, {append}");
    fs::remove_file(&disk)?;
    Ok(format!("`{}`", ready.trim()))
}

/// Whoever loads it, the kernel's address space is its own.
fn data_cannot_be_run(log: &Path) -> Result<String> {
    let disk = log.with_extension("disk");
    let (loader, kernel) = (fs::read(crates::loader()?)?, fs::read(crates::boot_check()?)?);
    fs::write(&disk, images::disk(&loader, &kernel, "check=run-data")?)?;
    let mut guest = start(log, "q35", &disk, MEDIA[0].2)?;
    let (_, console) = guest.wait_for_end()?;
    ensure!(console.contains("instruction fetch from a page that forbids it"), "it was run");
    fs::remove_file(&disk)?;
    Ok(String::new())
}

/// A machine that has this disk.
fn start(log: &Path, machine: &str, disk: &Path, options: &str) -> Result<Guest> {
    let firmware = firmware()?;
    let mut line = qemu::get()?.command_line();
    // Without `-kernel`: what boots, boots from the disk.
    let common = "-nodefaults -no-user-config -display none -no-reboot -accel tcg -cpu max -m 256 \
                  -netdev user,id=net -device e1000e,netdev=net,romfile=";
    let parts = ["-M", machine].into_iter().chain(common.split_whitespace());
    line.extend(parts.chain(options.split(' ')).map(str::to_owned));
    let drive = format!("if=none,id=disk,format=raw,snapshot=on,file={}", disk.display());
    line.extend(["-drive".into(), drive, "-bios".into(), firmware.display().to_string()]);
    Guest::start(line, None, log)
}

/// OVMF: this machine's, or else the distribution's.
fn firmware() -> Result<PathBuf> {
    let here = Path::new("/").join(FIRMWARE);
    if here.exists() {
        return Ok(here);
    }
    let tree = debian::place(OVMF)?;
    if !tree.exists() {
        debian::unpack_package(OVMF, &tree)
            .map_err(|error| Skipped(format!("it lacks the package {OVMF}: {error:#}")))?;
    }
    Ok(tree.join(FIRMWARE))
}
