//! Live migration as seen from outside.
//!
//! A [`Session`] boots the guest on the source of a [`Lab`] and migrates it as a [`Plan`] says:
//! ```text
//!  source                       this driver                     destination
//!    |  <- query-migrate, … ------- | -------------------------->  start -incoming
//!    |  <- migrate ---------------- |
//!    |     warm-up, held by a       |
//!    |     downtime limit of 0      |
//!    |  <- migrate-set-parameters   |
//!    |     has the guest quiesce    |
//!    |     the NIC, switches over --------------------------------->  RESUME
//!    |                              |                               "nic: attached"
//! ```
//! The destination's NIC is on its command line; the patched QEMU shows it to the guest when that
//! runs there. With the cold strategy `device_del` comes first and there is no warm-up to
//! hold. With failover QEMU itself has the NIC unplugged before it copies anything, and a standby
//! takes over; the warm strategy may have a standby too.
//!
//! A guest that has arrived can be migrated again, which takes it back.

mod disturbance;
mod effort;
mod machine;
mod record;
mod run;
mod session;
mod side;
mod stock;

pub use disturbance::{Disturbance, Site};
pub use effort::{Effort, Exits};
pub(crate) use machine::memory;
pub use machine::{
    Comparison, Device, Lab, Machine, NICS, PORTS, Pages, Pair, Profile, Role, STANDBY, Streams,
};
pub use record::{Check, Look, MemoryLeft, Outcome, Plan, Record, Timeline};
pub use session::{ResetInSilence, Session};
