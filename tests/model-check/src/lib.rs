//! Model checking of the protocol and of the code that keeps it. The guest's half is the product's
//! own: [`migrate_agent::Agent`] is asked for each of its steps (`poll`).
//!
//! [`memory`] is the argument in `docs/marking-argument.md`: with a device that stays attached
//! until just before the switchover, no frame the guest holds is ever stale on the destination.
//! [`conversation`] is the specification, `docs/capability.md`: several bridges, timeouts, moves
//! and resets, and it always ends with every NIC in use.
//!
//! A mistake leaves out one thing that a model rests on; the checker must find what comes of it, or
//! it could not be trusted to find anything.
//!
//! `tests/books` has the other half: the DMA pool's own source files, run against loom.

pub mod conversation;
pub mod memory;
mod poll;

pub use poll::Access;
