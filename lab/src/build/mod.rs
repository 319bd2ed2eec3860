//! What a lab is put together from, built or fetched when it is first needed and kept.

pub mod application;
pub mod crates;
pub mod fetch;
pub mod host_kernel;
pub mod mdbook;
pub mod qemu;
pub mod stock;
