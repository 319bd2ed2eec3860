//! Interfaces of a fake machine, whose NICs come and go, and two machines on a wire.

mod ecosystem;
mod interfaces;
mod metrics;
mod nic;
mod power;
