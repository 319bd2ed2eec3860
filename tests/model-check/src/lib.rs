//! Model checking of the argument in `docs/marking-argument.md`: with a device that stays attached
//! until just before the switchover, no frame the guest holds is ever stale on the destination.
//!
//! [`Migration`] is the protocol, small step by small step, on two processors with store buffers
//! (x86-TSO): every interleaving of hypervisor, device, receive path and agent is visited. A
//! [`Mistake`] leaves out one thing the argument rests on; the checker must find what that loses,
//! or it could not be trusted to find anything.
//!
//! `tests/books.rs` has the other half: the pool's own lock-free lists and states, the very source
//! file, run against loom.

mod agent;
mod hypervisor;
mod poll;
mod protocol;
mod receiver;
mod state;

pub use poll::Access;
pub use state::{Action, Migration, Mistake, State};
