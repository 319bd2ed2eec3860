//! Measurements, and comparisons with others. They judge nothing: on a machine that does other work
//! as well, absolute figures mean little, and ratios of runs that take turns are what to look at.

pub mod dma;
pub mod instructions;
pub mod native;
pub mod nic;
mod rounds;
pub mod size;
mod systems;
mod udp;
