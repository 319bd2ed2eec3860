//! A model of Intel's 82599 with one SFP+ port (8086:10fb), as a vfio-user server.
//!
//! Any QEMU from 10.1 on attaches it:
//! ```text
//! -object memory-backend-memfd,id=ram,size=512M,share=on -machine q35,memory-backend=ram
//! -device pcie-root-port,id=rp0,slot=1
//! -device '{"driver":"vfio-user-pci","bus":"rp0","socket":{"type":"unix","path":"PATH"}}'
//! ```
//! It writes guest memory behind QEMU's back, as hardware does, so no hypervisor's dirty log sees
//! it. But it records every page it writes: against that record one can check whether a guest's
//! drivers account for all that their device wrote.
//!
//! # What is modelled
//! 128 receive and 128 transmit queues, advanced descriptors (transmit: legacy ones too), RSS, 64
//! MSI-X vectors with moderation, automatic masking and clearing (or MSI, or INTx), checksums both
//! ways, TCP and UDP segmentation, VLAN tags stripped, inserted and filtered, all address filters,
//! statistics, link flow control, resets of all kinds.
//!
//! # A virtual function
//! Instead of the whole device it can be a virtual function of one (8086:10ed), with the host that
//! has the rest at the other end of its mailbox (`function`).
//!
//! # What is not modelled
//! Receive-side coalescing (a queue that enables it gets packets one by one), header split and
//! legacy receive descriptors (a queue that asks for either receives nothing, and the log says so),
//! flow director filters (commands are accepted, nothing ever matches), traffic classes, pools,
//! FCoE, MACsec, IPsec, IEEE 1588, AER, an I/O BAR, a ROM.
//!
//! # Threads
//! The `server` answers QEMU; it also transmits, as part of the write to a doorbell. The `engine`
//! takes frames from the wire and sends interrupts whose time has come. They share the device
//! behind a lock (`shared`).
//!
//! # Modules
//! `device` is composed of units that know nothing of it: its side towards the host (`host`) and
//! towards the wire (`port`), and between them `receive` and `transmit`. A register access arrives
//! at `device`, which passes it to the unit it concerns.
#![forbid(unsafe_code)]

mod checksum;
mod config;
pub mod control;
mod device;
mod eeprom;
mod engine;
mod fault;
mod filters;
mod function;
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
