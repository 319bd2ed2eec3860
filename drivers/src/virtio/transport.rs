//! A virtio device on PCI (Virtual I/O Device 1.3, 4.1): where its structures are, and the
//! conversation that starts and ends it.

use super::registers::{capability, common, net};
use crate::Error;
use crate::common::wait_for;
use ::virtio::net::{F, S};
use ::virtio::pci::{CapCfgType, IsrStatus};
use ::virtio::{DeviceStatus, le128};
use unikernel::mmio::Mmio;
use unikernel::nic::Link;
use unikernel::pci::{Device, PciAddress, Signalling, VendorCapability};

/// A reset is over when the status reads 0 (4.1.4.3.2). Virtual devices need no time for it.
const RESET_US: u64 = 100_000;
/// Tries to read configuration that does not change meanwhile.
const CONFIG_TRIES: usize = 8;

/// The MSI-X entry of everything.
const VECTOR: u16 = 0;

pub(super) struct Transport {
    common: Mmio,
    notify: Mmio,
    isr: Mmio,
    config: Mmio,
    /// Bytes between two queues' notification registers.
    multiplier: usize,
    features: F,
}

impl Transport {
    /// Finds the structures. The first capability of each type that is usable counts (4.1.4.1).
    pub(super) fn new(device: &Device) -> Result<Self, Error> {
        let not_modern = Error::NotModern(device.address());
        let (common, _) = structure(device, CapCfgType::Common, common::SIZE).ok_or(not_modern)?;
        let (notify, capability) = structure(device, CapCfgType::Notify, 2).ok_or(not_modern)?;
        let (isr, _) = structure(device, CapCfgType::Isr, 1).ok_or(not_modern)?;
        let (config, _) = structure(device, CapCfgType::Device, net::STATUS).ok_or(not_modern)?;
        let multiplier = capability.read32(capability::NOTIFY_OFF_MULTIPLIER).ok_or(not_modern)?;
        let features = F::empty();
        Ok(Self { common, notify, isr, config, multiplier: multiplier as usize, features })
    }

    /// The device does not answer: no status has all bits set.
    pub(super) fn is_gone(&self) -> bool {
        self.common.read8(common::DEVICE_STATUS) == u8::MAX
    }

    /// Resets the device, whatever state it is in. `false` if it stays in reset.
    pub(super) async fn reset(&self) -> bool {
        self.common.write8(common::DEVICE_STATUS, 0);
        wait_for(RESET_US, || self.common.read8(common::DEVICE_STATUS) == 0).await
    }

    /// Agrees on features: those of `wanted` that the device offers (3.1.1, steps 2 to 6).
    pub(super) fn negotiate(&mut self, wanted: F, address: PciAddress) -> Result<F, Error> {
        self.add_status(DeviceStatus::ACKNOWLEDGE);
        self.add_status(DeviceStatus::DRIVER);
        let offered = self.offered();
        if !offered.contains(F::VERSION_1) {
            return Err(Error::NotModern(address));
        }
        let features = self.usable(offered & wanted);
        for half in 0..2 {
            self.common.write32(common::DRIVER_FEATURE_SELECT, half);
            let bits = (features.bits().to_ne() >> (32 * half)) as u32;
            self.common.write32(common::DRIVER_FEATURE, bits);
        }
        self.add_status(DeviceStatus::FEATURES_OK);
        if !self.has_status(DeviceStatus::FEATURES_OK) {
            return Err(Error::Negotiation(address));
        }
        self.features = features;
        Ok(features)
    }

    /// A feature whose field is not in the device's configuration is none.
    fn usable(&self, mut features: F) -> F {
        for (feature, end) in [
            (F::STATUS, net::STATUS + 2),
            (F::MTU, net::MTU + 2),
            (F::SPEED_DUPLEX, net::DUPLEX + 1),
        ] {
            if self.config.len() < end {
                features.remove(feature);
            }
        }
        features
    }

    fn offered(&self) -> F {
        let mut bits = 0;
        for half in 0..2 {
            self.common.write32(common::DEVICE_FEATURE_SELECT, half);
            bits |= u128::from(self.common.read32(common::DEVICE_FEATURE)) << (32 * half);
        }
        F::from_bits_retain(le128::from_ne(bits))
    }

    /// The most descriptors a queue can have; 0 if there is no such queue.
    pub(super) fn queue_size(&self, queue: u16) -> u16 {
        self.common.write16(common::QUEUE_SELECT, queue);
        self.common.read16(common::QUEUE_SIZE)
    }

    /// Enables a queue of `size` descriptors (4.1.5.1.3) and returns where it is notified; `None`
    /// if the device names a place outside the structure, or refuses the vector.
    pub(super) fn enable_queue(
        &self,
        queue: u16,
        size: u16,
        addresses: [u64; 3],
        signalling: Signalling,
    ) -> Option<usize> {
        let c = &self.common;
        c.write16(common::QUEUE_SELECT, queue);
        c.write16(common::QUEUE_SIZE, size);
        let registers = [common::QUEUE_DESC, common::QUEUE_DRIVER, common::QUEUE_DEVICE];
        for (register, address) in registers.into_iter().zip(addresses) {
            c.write32(register, address as u32);
            c.write32(register + 4, (address >> 32) as u32);
        }
        self.set_vector(common::QUEUE_MSIX_VECTOR, signalling)?;
        let offset =
            usize::from(c.read16(common::QUEUE_NOTIFY_OFF)).checked_mul(self.multiplier)?;
        if !offset.is_multiple_of(2) || offset.checked_add(2)? > self.notify.len() {
            return None;
        }
        c.write16(common::QUEUE_ENABLE, 1);
        Some(offset)
    }

    /// Which interrupt a change of configuration raises; `None` if the device refuses.
    pub(super) fn enable_config_interrupt(&self, signalling: Signalling) -> Option<()> {
        self.set_vector(common::CONFIG_MSIX_VECTOR, signalling)
    }

    fn set_vector(&self, register: usize, signalling: Signalling) -> Option<()> {
        let vector = if signalling == Signalling::MsiX { VECTOR } else { common::NO_VECTOR };
        self.common.write16(register, vector);
        // A device without resources for it says so here (4.1.5.1.2.1).
        (self.common.read16(register) == vector).then_some(())
    }

    /// The device may use its queues from here on.
    pub(super) fn go(&self) {
        self.add_status(DeviceStatus::DRIVER_OK);
    }

    /// The driver gives up on the device.
    pub(super) fn fail(&self) {
        self.add_status(DeviceStatus::FAILED);
    }

    /// Tells the device to look at a queue.
    pub(super) fn notify(&self, queue: u16, offset: usize) {
        self.notify.write16(offset, queue);
    }

    /// Reads and acknowledges why the pin was asserted: whether configuration changed (4.1.4.5).
    pub(super) fn take_config_change(&self) -> bool {
        IsrStatus::from_bits_retain(self.isr.read8(0))
            .contains(IsrStatus::DEVICE_CONFIGURATION_INTERRUPT)
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        self.steady(|| core::array::from_fn(|i| self.config.read8(net::MAC + i)))
    }

    /// The IP MTU the device asks for.
    pub(super) fn mtu(&self) -> Option<u16> {
        self.features.contains(F::MTU).then(|| self.config.read16(net::MTU))
    }

    pub(super) fn link(&self) -> Link {
        if self.features.contains(F::STATUS) {
            let status = self.config.read16(net::STATUS);
            let up = S::LINK_UP.bits().to_ne();
            // All ones: the device is gone.
            if status == u16::MAX || status & up == 0 {
                return Link::default();
            }
        }
        let (mut speed, mut full_duplex) = (0, true);
        if self.features.contains(F::SPEED_DUPLEX) {
            let (said, duplex) =
                self.steady(|| (self.config.read32(net::SPEED), self.config.read8(net::DUPLEX)));
            speed = if said == net::SPEED_UNKNOWN { 0 } else { said };
            full_duplex = duplex == net::DUPLEX_FULL;
        }
        Link { up: true, speed, full_duplex }
    }

    /// Reads configuration that did not change in between (2.5.1).
    fn steady<T>(&self, read: impl Fn() -> T) -> T {
        let generation = || self.common.read8(common::CONFIG_GENERATION);
        let mut before = generation();
        for _ in 1..CONFIG_TRIES {
            let value = read();
            let after = generation();
            if after == before {
                return value;
            }
            before = after;
        }
        read()
    }

    fn add_status(&self, status: DeviceStatus) {
        let now = self.common.read8(common::DEVICE_STATUS);
        self.common.write8(common::DEVICE_STATUS, now | status.bits());
    }

    fn has_status(&self, status: DeviceStatus) -> bool {
        let now = self.common.read8(common::DEVICE_STATUS);
        now != u8::MAX && now & status.bits() != 0
    }
}

/// The structure of a type, at least `size` bytes long, and the capability that says where it is.
pub(super) fn structure(
    device: &Device,
    kind: CapCfgType,
    size: usize,
) -> Option<(Mmio, VendorCapability)> {
    device.function().vendor_capabilities().find_map(|found| {
        if CapCfgType::from(found.read8(capability::CFG_TYPE)?) != kind {
            return None;
        }
        let offset = found.read32(capability::OFFSET)? as usize;
        let len = found.read32(capability::LENGTH)? as usize;
        // Every structure's alignment is 4 at most (4.1.4). A place in I/O space is one that `bar`
        // refuses.
        if len < size || !offset.is_multiple_of(4) {
            return None;
        }
        let bar = device.bar(found.read8(capability::BAR)?).ok()?;
        Some((bar.window(offset, len)?, found))
    })
}
