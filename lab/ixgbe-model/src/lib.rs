//! A model of Intel's 82599 with one SFP+ port (8086:10fb), as a vfio-user server.
//!
//! Any QEMU from 10.1 on attaches it:
//! ```text
//! -object memory-backend-memfd,id=ram,size=512M,share=on -machine q35,memory-backend=ram
//! -device pcie-root-port,id=rp0,slot=1
//! -device '{"driver":"vfio-user-pci","bus":"rp0","socket":{"type":"unix","path":"PATH"}}'
//! ```
//! It writes guest memory behind QEMU's back, as hardware would, so no dirty log of a hypervisor
//! sees it; and it records every page it writes. What the guest's drivers do about their device's
//! writes can be judged by that record.
//!
//! # What it has
//! 128 receive and 128 transmit queues, advanced descriptors (transmit: legacy ones too), RSS, 64
//! MSI-X vectors with moderation, automatic masking and clearing (or MSI, or INTx), checksums both
//! ways, TCP and UDP segmentation, VLAN tags stripped, inserted and filtered, all address filters,
//! statistics, link flow control, resets of all kinds.
//!
//! # What it has not
//! Receive-side coalescing (a queue that enables it gets packets one by one), header split, legacy
//! receive descriptors (a queue that asks for either gets nothing, and the log says so), flow
//! director filters (commands are taken, nothing matches), traffic classes, virtualisation, FCoE,
//! MACsec, IPsec, IEEE 1588, AER, an I/O BAR, a ROM.
//!
//! # Threads
//! One answers QEMU and does transmission where the doorbell rings; the engine takes frames from
//! the wire and sends delayed interrupts. They share the device behind a lock.
#![forbid(unsafe_code)]

mod checksum;
mod config;
pub mod control;
mod device;
mod eeprom;
mod engine;
mod fault;
mod filters;
mod host;
mod i2c;
mod interrupts;
mod link;
mod memory;
mod model;
mod offload;
mod packet;
mod plan;
mod port;
mod receive;
mod register_file;
mod registers;
mod ring;
mod rss;
mod server;
mod shared;
mod statistics;
#[cfg(test)]
mod tests;
mod transmit;
mod wire;
mod write_back;

pub use engine::Peer;
pub use fault::Fault;
pub use memory::{PAGE, Pages};
pub use model::{Model, Options};
