//! The Godwit kernel library.
//!
//! On `x86_64-unknown-none` it boots the machine and runs an async executor on one processor. On
//! a host the parts that need no hardware (command line, memory map, ACPI tables, DMA layer, PCI,
//! network glue) compile as ordinary code, so that they are tested there.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

pub mod acpi;
pub mod checksum;
pub mod cmdline;
pub mod console;
pub mod crc32c;
pub mod dma;
pub mod irq;
pub mod memory;
pub mod mmio;
pub mod net;
pub mod nic;
pub mod pci;
pub mod power;
pub mod pvpanic;
pub mod random;
pub mod time;
pub mod watch;

#[cfg(target_os = "none")]
mod arch;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod crash;
#[cfg(target_os = "none")]
mod executor;
#[cfg(target_os = "none")]
mod logger;

#[cfg(target_os = "none")]
pub use boot::Kernel;

/// Makes `fn(Kernel, Spawner)` the program that runs once the machine is up.
///
/// It runs to completion on the executor's stack before any task is polled; what it wants to go on
/// doing, it spawns.
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn godwit_main(kernel: $crate::Kernel, spawner: $crate::Spawner) {
            $main(kernel, spawner)
        }
    };
}

#[cfg(target_os = "none")]
#[doc(hidden)]
pub use embassy_executor::Spawner;
