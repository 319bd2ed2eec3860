//! Bringing up the virtual host: ports, NICs.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lab_init::{CHANNELS, Nic};

/// Virtio 1.3, 4.1.2: the PCI vendor of every virtio device.
pub(crate) const VIRTIO_VENDOR: &str = "0x1af4";

/// Links each virtio-serial port under its name. There is no udev to do it.
pub(crate) fn link_channels() -> Result<()> {
    fs::create_dir_all(CHANNELS)?;
    // The ports are announced over the device's control queue after the driver has bound.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !Path::new(CHANNELS).join(lab_init::CONTROL_PORT).exists() {
        ensure!(Instant::now() < deadline, "the port `{}` never appeared", lab_init::CONTROL_PORT);
        for entry in fs::read_dir("/sys/class/virtio-ports")? {
            let entry = entry?;
            // The name comes with a later message than the port.
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            let link = Path::new(CHANNELS).join(name.trim_end());
            if !name.is_empty() && !link.exists() {
                symlink(Path::new("/dev").join(entry.file_name()), link)?;
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether the host is to be one that nobody has prepared.
pub(crate) fn is_unprepared() -> Result<bool> {
    let line = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    Ok(line.split_ascii_whitespace().any(|word| word == lab_init::UNPREPARED))
}

/// Hands every NIC of the host to vfio-pci, but for the virtual ones, see [`taps`](crate::taps),
/// and those of which virtual functions are handed over.
pub(crate) fn assign_nics() -> Result<Vec<Nic>> {
    let mut functions: Vec<PathBuf> = fs::read_dir("/sys/bus/pci/devices")?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    functions.sort();
    let mut nics = Vec::new();
    for function in functions {
        // PCI Code and ID Assignment 1.3: 02 00 00 is an Ethernet controller.
        if attribute(&function, "class")? == "0x020000"
            && attribute(&function, "vendor")? != VIRTIO_VENDOR
            // The host keeps those of which it has made virtual ones.
            && !function.join("virtfn0").exists()
        {
            nics.push(assign(&function).with_context(|| format!("NIC {}", function.display()))?);
        }
    }
    Ok(nics)
}

fn assign(function: &Path) -> Result<Nic> {
    let address = function.file_name().and_then(|name| name.to_str()).context("PCI address")?;
    let Ok(group) = fs::read_link(function.join("iommu_group")) else {
        bail!("in no IOMMU group: the host runs without an IOMMU");
    };
    let group = group.file_name().and_then(|name| name.to_str()).context("IOMMU group")?;
    let id = |name| {
        Ok::<_, anyhow::Error>(attribute(function, name)?.trim_start_matches("0x").to_owned())
    };
    let nic = Nic {
        address: address.into(),
        id: format!("{}:{}", id("vendor")?, id("device")?),
        iommu_group: group.into(),
    };
    let driver = function.join("driver");
    if driver.exists() {
        fs::write(driver.join("unbind"), address).context("unbind")?;
    }
    fs::write(function.join("driver_override"), "vfio-pci").context("driver_override")?;
    fs::write("/sys/bus/pci/drivers_probe", address).context("probe")?;
    let bound = fs::read_link(&driver).ok();
    ensure!(bound.is_some_and(|driver| driver.ends_with("vfio-pci")), "vfio-pci did not take it");
    let device = Path::new("/dev/vfio").join(group);
    ensure!(device.exists(), "{} is missing", device.display());
    Ok(nic)
}

pub(crate) fn attribute(function: &Path, name: &str) -> Result<String> {
    let path = function.join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.trim_end().to_owned())
}
