//! NIC drivers, one folder a family.
//!
//! [`probe`] finds the driver for a PCI function and starts it. A driver knows registers and
//! descriptors; memory comes from the DMA layer, register access from [`unikernel::mmio`]. What the
//! Intel families have in common is in `intel`, what all have in `common`.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod common;
pub mod e1000;
pub mod e1000e;
mod error;
pub mod igb;
pub mod igbvf;
mod intel;
pub mod ixgbe;
pub mod ixgbevf;
pub mod virtio;

pub use error::{Error, Refusal};

use alloc::boxed::Box;
use intel::{Driver, Hardware};
use unikernel::dma::Pool;
use unikernel::nic::{Nic, Settings};
use unikernel::pci::Device;

/// Base class and sub-class of Ethernet controllers (PCI Code and ID Assignment Specification,
/// 1.3).
const ETHERNET: u16 = 0x0200;

/// Whether `device` is a NIC at all, whoever makes it.
pub fn is_nic(device: &Device) -> bool {
    device.class() == ETHERNET
}

/// Resets `device` and starts its driver as `settings` say, with rings and buffers from `pool`.
/// Other tasks run while the device takes its time.
///
/// # Errors
/// The device has no driver, cannot do what a setting asks for, or does not start: [`Error`] says
/// which, and names it.
pub async fn probe(
    device: Device,
    pool: &'static Pool,
    settings: &Settings,
) -> Result<Box<dyn Nic>, Error> {
    match device.ids() {
        e1000::INTEL_82540EM | e1000::INTEL_82545EM => {
            start::<e1000::Hardware>(device, pool, settings).await
        }
        e1000e::INTEL_82574L => start::<e1000e::Hardware>(device, pool, settings).await,
        igb::INTEL_82576 => start::<igb::Hardware82576>(device, pool, settings).await,
        igb::INTEL_I350 => start::<igb::HardwareI350>(device, pool, settings).await,
        igbvf::INTEL_82576_VF => start::<igbvf::Hardware82576Vf>(device, pool, settings).await,
        igbvf::INTEL_I350_VF => start::<igbvf::HardwareI350Vf>(device, pool, settings).await,
        ixgbe::INTEL_82599 => start::<ixgbe::Hardware82599>(device, pool, settings).await,
        ixgbe::INTEL_X540 => start::<ixgbe::HardwareX540>(device, pool, settings).await,
        ixgbevf::INTEL_82599_VF | ixgbevf::INTEL_X540_VF => {
            start::<ixgbevf::HardwareVf>(device, pool, settings).await
        }
        ids if virtio::is_ours(ids) => {
            Ok(Box::new(virtio::Virtio::start(device, pool, settings).await?))
        }
        (vendor, id) => Err(Error::Unknown { address: device.address(), vendor, id }),
    }
}

async fn start<H: Hardware>(
    device: Device,
    pool: &'static Pool,
    settings: &Settings,
) -> Result<Box<dyn Nic>, Error> {
    Ok(Box::new(Driver::<H>::start(device, pool, settings).await?))
}
