//! PCI Express: finding functions, giving them addresses, interrupts and power.
//!
//! [`Root::enumerate`] walks the buses firmware numbered and returns every [`Bridge`] and
//! [`Device`]. A [`Slot`] is the hot-plug controller of a bridge; after it announced a new card and
//! powered it on, [`Bridge::attach`] finds the card's functions and assigns their BARs inside the
//! bridge's windows.
//!
//! Devices are not trusted: capability pointers, lengths, BAR sizes and table offsets are checked,
//! walks are bounded, and a function that vanishes reads as all ones.
//!
//! The `pci_types` crate supplies addresses and the command register. Its header and capability
//! types are not used: they size BARs with decoding on, read-modify-write status registers whose
//! bits are cleared by writing them back, and cannot list a bridge's capabilities.
//!
//! Section numbers are those of the PCI Express Base Specification 6.0.

mod bar;
mod bridge;
mod capability;
mod config;
mod device;
mod dma;
mod error;
#[cfg(not(target_os = "none"))]
pub mod fake;
mod interrupt;
#[cfg(target_os = "none")]
mod ports;
mod registers;
mod root;
mod slot;
#[cfg(test)]
mod tests;
mod wire;

pub use bar::{Bar, Space, Window};
pub use bridge::Bridge;
pub use capability::{Capabilities, Capability, VendorCapability};
#[cfg(target_os = "none")]
pub use config::Ecam;
pub use config::{Function, HostBridge};
pub use device::Device;
pub use dma::Dma;
pub use error::Error;
pub use interrupt::{Signalling, Vector};
pub use pci_types::PciAddress;
pub use root::{Root, Topology, Walk};
pub use slot::{Slot, SlotEvent};
