//! The guest's half of the migration capability: what is in it, and what to do about it.
//!
//! No I/O of its own. Configuration space is behind [`Registers`], the DMA layer behind [`Marker`],
//! so all of it runs on the host. The specification, `docs/capability.md`, is the authority; in
//! short:
//!
//! ```text
//! guest boots          CONTROL = MARKING | IRQ          the promise that lets the device stay
//! log goes on          LOGGING = 1, EPOCH + 1, IRQ  ──▶ marking on, catch up, ACK = EPOCH
//! log goes off         LOGGING = 0, EPOCH + 1, IRQ  ──▶ marking off, ACK = EPOCH
//! on the destination   MOVED = 1, EPOCH + 1, IRQ    ──▶ marking off, ACK = EPOCH
//! ```
//!
//! Whatever is read comes from outside and is checked or masked; a capability that cannot be what
//! it says is none.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod agent;
pub mod registers;

pub use agent::{Agent, Event, Marker, Slice};
pub use registers::{Registers, Unusable};

#[cfg(test)]
mod tests;
