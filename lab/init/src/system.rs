//! What PID 1 does first, whatever the system is for.

use std::{
    ffi::CString,
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result};
use rustix::{
    io::Errno,
    mount::{MountFlags, mount},
    system::finit_module,
};

use crate::{MODULE_LIST, VirtualFunction};

/// Mounts the kernel's own file systems.
///
/// # Errors
/// The kernel lacks one of them.
pub fn mount_all() -> Result<()> {
    for (kind, target) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ] {
        fs::create_dir_all(target)?;
        match mount(kind, target, kind, MountFlags::empty(), None) {
            // CONFIG_DEVTMPFS_MOUNT does not cover an initramfs, but nothing forbids that it will.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("mount {kind} on {target}")),
        }
    }
    Ok(())
}

/// Loads the modules of [`MODULE_LIST`] that this machine has a use for.
///
/// # Errors
/// The list is missing, or the kernel refuses a module.
pub fn load_modules() -> Result<()> {
    let list = fs::read_to_string(MODULE_LIST).context(MODULE_LIST)?;
    let cpu = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let cmdline = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    let has = |flag| cpu.split_ascii_whitespace().any(|word| word == flag);
    for line in list.lines() {
        let (path, parameters) = line.split_once(' ').unwrap_or((line, ""));
        let wanted = match Path::new(path).file_stem().and_then(|stem| stem.to_str()) {
            Some("kvm_amd") => has("svm"),
            Some("kvm_intel") => has("vmx"),
            // It would take NICs that others are for.
            Some("igb") => cmdline.contains(VirtualFunction::KEY),
            _ => true,
        };
        if wanted {
            let file = File::open(path).with_context(|| path.to_owned())?;
            match finit_module(&file, &CString::new(parameters)?, 0) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("load {path} {parameters}"));
                }
            }
        }
    }
    Ok(())
}
