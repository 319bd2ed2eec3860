//! The IOMMU among virtio devices (Virtual I/O Device specification 1.3, 5.13). It has no driver:
//! whether the NICs behind it reach memory without one is all that is asked of it.

use super::registers::{VENDOR, common, iommu};
use super::transport::structure;
use ::virtio::pci::CapCfgType;
use unikernel::pci::Device;

/// Whether `device` is a virtio IOMMU that keeps everybody from memory whom it was not told to let
/// through. One that does not say so is taken for such a one.
pub fn is_closed_iommu(device: &Device) -> bool {
    device.ids() == (VENDOR, iommu::ID) && !bypass(device).unwrap_or(false)
}

/// What it does with those whom it was told nothing about, once it has said that it knows
/// (5.13.6.3).
fn bypass(device: &Device) -> Option<bool> {
    let (common, _) = structure(device, CapCfgType::Common, common::SIZE)?;
    let (config, _) = structure(device, CapCfgType::Device, iommu::BYPASS + 1)?;
    common.write32(common::DEVICE_FEATURE_SELECT, 0);
    let offered = common.read32(common::DEVICE_FEATURE);
    Some(offered & iommu::F_BYPASS_CONFIG != 0 && config.read8(iommu::BYPASS) == 1)
}
