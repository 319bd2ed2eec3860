//! The bootable network application: an iperf3 server, an echo service, a flight recorder, a status page, and the receiving
//! end of the probe protocol, on a NIC that live migration takes away and gives back.
//!
//! All of it runs on a host as well, on whatever [`Nic`](unikernel::nic::Nic) the stack is given: see `examples/tap.rs`.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod app;
pub mod echo;
pub mod iperf3;
pub mod migration;
pub mod recorder;
pub mod sink;
pub mod status;
