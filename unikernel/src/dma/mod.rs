//! Memory that devices read and write, and the marking that makes their writes visible to a
//! hypervisor's dirty log.
//!
//! All of it comes from one [`Pool`], fixed at boot. A driver takes [`Coherent`] memory for its
//! rings and streaming buffers for its data, and uses them in place:
//!
//! ```text
//!            receive_stream()               receive(…, len)
//!   pool ──────────────────▶ Stream<FromDevice> ──────────▶ RxBuffer ──drop──▶ pool
//!                                                              │
//!                               ┌─────── into_transmit() ──────┘
//!            transmit_buffer()  ▼            into_stream(len)
//!   pool ──────────────────▶ TxBuffer ───────────────────▶ Stream<ToDevice> ──drop──▶ pool
//! ```
//!
//! Who may touch a buffer is in its type: while a [`Stream`] exists the device owns the memory and
//! the CPU has no way to reach it; an [`RxBuffer`] or a [`TxBuffer`] is the CPU's. The points where
//! memory crosses to the CPU, [`Stream::receive`] and [`Coherent::mark`], are the points where it
//! is marked.
//!
//! The pool keeps its books (free lists, slot states) in ordinary memory and the CPU never writes
//! into an [`RxBuffer`]. Such a write would put the page in the dirty log by accident, and hide a
//! missing mark until the day it is not there. A frame that is sent back is written to, as a
//! [`TxBuffer`]; it was marked like any other when it was received, and if the log goes on later,
//! it is in use, whoever has it, and the catch-up marks it.
//!
//! `docs/dma.md` describes the whole layer, `docs/marking-argument.md` why no update can be lost.

mod coherent;
mod error;
#[cfg(not(target_os = "none"))]
pub mod fake;
mod free_list;
mod marking;
mod memory;
#[cfg(not(target_os = "none"))]
mod page_log;
mod pool;
mod rx_buffer;
mod slots;
mod stream;
mod tx_buffer;

use core::sync::atomic;

pub use coherent::{Coherent, Completed};
pub use error::Error;
pub use marking::Policy;
pub use memory::PoolMemory;
pub use pool::{Pool, Slice, Statistics};
pub use rx_buffer::RxBuffer;
pub use slots::SLOT_SIZE;
pub use stream::{Direction, FromDevice, FromHypervisor, Stream, ToDevice};
pub use tx_buffer::TxBuffer;

/// The unit in which a hypervisor logs, in bytes.
pub const PAGE_SIZE: usize = 4096;

/// The longest piece of memory that one stream or ring can have, in bytes.
pub const MAX_RUN: usize = SLOT_SIZE << slots::MAX_ORDER;

#[cfg(test)]
mod tests;
