//! Interfaces of a fake machine, whose NICs come and go.

mod ecosystem;
mod interfaces;
mod nic;
