//! The guest's half of the migration capability, whole.
//!
//! Two modules are pure: `registers` says what is in the capability, and `agent` what to do about
//! it, with configuration space behind [`Registers`] and the DMA layer behind [`Marker`]. Around
//! them, [`Service`] finds the capability in the bridges of a machine, runs a task for each, has
//! NICs taken out and into use as they leave and come back (through [`Nics`]), and publishes where
//! the machine is in a migration ([`Migration`]). The specification, `docs/capability.md`, is the
//! authority; in short:
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
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod agent;
mod capability;
mod migration;
mod nics;
pub mod registers;
mod service;

pub use agent::{Agent, Event, Marker, Slice};
pub use capability::has_capability;
pub use migration::{Facts, Migration, State};
pub use nics::{Attached, Nics, Why};
pub use registers::{Registers, Unusable};
pub use service::{BridgeService, Detach, Service};

#[cfg(test)]
mod tests;
