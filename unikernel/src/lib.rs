//! The Godwit kernel library.
#![cfg_attr(target_os = "none", no_std)]
extern crate alloc;

pub mod dma;
