//! Interfaces of a fake machine, whose NICs come and go.

mod interfaces;
mod nic;
