//! PCI functions of this machine that a guest is given.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};

/// Checks that a function, and its whole IOMMU group, are bound to vfio-pci.
pub(super) fn check(bdf: &str) -> Result<()> {
    let function = Path::new("/sys/bus/pci/devices").join(bdf);
    ensure!(function.exists(), "this machine has no PCI function {bdf}; `lspci -D` lists them");
    let group = fs::read_link(function.join("iommu_group")).ok();
    let Some(group) = group.as_deref().and_then(Path::file_name) else {
        bail!(
            "{bdf} is in no IOMMU group: turn the IOMMU on in the firmware, and in Linux with \
             intel_iommu=on or amd_iommu=on on its command line"
        );
    };
    for member in fs::read_dir(function.join("iommu_group/devices"))? {
        let member = member?;
        let name = member.file_name().into_string().unwrap_or_default();
        let class = fs::read_to_string(member.path().join("class")).unwrap_or_default();
        // PCI Code and ID Assignment 1.3: 06 04 is a PCI-to-PCI bridge, which VFIO leaves alone.
        if class.starts_with("0x0604") {
            continue;
        }
        let driver = fs::read_link(member.path().join("driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name);
        ensure!(
            driver.is_some_and(|driver| driver == "vfio-pci"),
            "{name} (IOMMU group {}) is bound to {}, not to vfio-pci; as root:\n{}",
            group.display(),
            driver.map_or("no driver".into(), |driver| driver.display().to_string()),
            remedy(&name)
        );
    }
    let device = Path::new("/dev/vfio").join(group);
    fs::File::options().read(true).write(true).open(&device).with_context(|| {
        format!("{} cannot be opened; give yourself the file, or run as root", device.display())
    })?;
    Ok(())
}

/// How to bind a function to vfio-pci.
pub fn remedy(bdf: &str) -> String {
    let function = format!("/sys/bus/pci/devices/{bdf}");
    format!(
        "    modprobe vfio-pci\n    echo vfio-pci > {function}/driver_override\n    \
         echo {bdf} > {function}/driver/unbind   # if it has a driver\n    \
         echo {bdf} > /sys/bus/pci/drivers_probe"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_function_is_named() {
        let error = check("ffff:ff:1f.7").unwrap_err().to_string();
        assert!(error.contains("ffff:ff:1f.7"), "{error}");
    }
}
