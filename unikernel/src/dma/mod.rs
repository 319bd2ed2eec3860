//! Memory that devices read and write, and the marking that makes their writes visible to a
//! hypervisor's dirty log.
//!
//! All of it comes from one [`Pool`], fixed at boot. A driver takes [`Coherent`] memory for its
//! rings and streaming buffers for its data, and uses them in place:
//!
//! ```text
//!            receive_stream()                receive(len)
//!   pool ──────────────────▶ Stream<FromDevice> ──────────▶ RxBuffer ──drop──▶ pool
//!            transmit_buffer()               into_stream(len)
//!   pool ──────────────────▶ TxBuffer ───────────────────▶ Stream<ToDevice> ──drop──▶ pool
//! ```
//!
//! Who may touch a buffer is in its type: while a [`Stream`] exists the device owns the memory and
//! the CPU has no way to reach it; an [`RxBuffer`] or a [`TxBuffer`] is the CPU's. The points where
//! memory crosses to the CPU — [`Stream::receive`], `sync_for_cpu`, `unmap`, [`Coherent::mark`] —
//! are the points where it is marked.
//!
//! The pool keeps its books (free lists, slot states) in ordinary memory and the CPU never writes
//! into a received slot. Such a write would put the page in the dirty log by accident, and hide a
//! missing mark until the day it is not there.
//!
//! `docs/dma.md` describes the whole layer, `docs/marking-argument.md` why no update can be lost.

mod bounce;
mod buffer;
mod coherent;
mod error;
#[cfg(not(target_os = "none"))]
pub mod fake;
mod free_list;
mod marking;
mod memory;
mod pool;
mod slots;
mod stream;

use core::sync::atomic;

pub use bounce::Mapping;
pub use buffer::{RxBuffer, TxBuffer};
pub use coherent::Coherent;
pub use error::Error;
pub use marking::Policy;
pub use memory::PoolMemory;
pub use pool::{Pool, Slice, Statistics};
pub use slots::SLOT_SIZE;
pub use stream::{
    Bidirectional, DeviceWrites, Direction, FromDevice, FromHypervisor, Stream, Synced, ToDevice,
};

/// The unit in which a hypervisor logs, in bytes.
pub const PAGE_SIZE: usize = 4096;

/// The longest piece of memory that one stream, mapping or ring can have, in bytes.
pub const MAX_RUN: usize = SLOT_SIZE << slots::MAX_ORDER;

#[cfg(test)]
mod tests;
