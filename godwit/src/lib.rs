//! What a Godwit application is written against, and the only crate it needs.
//!
//! ```no_run
//! #![cfg_attr(target_os = "none", no_std, no_main)]
//!
//! #[godwit::main]
//! async fn main(system: godwit::System) {
//!     let net = system.interface(0).await;
//!     net.ready().await;
//!     godwit::println!("hello, network");
//! }
//! ```
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(target_os = "none")]
mod boot;
#[cfg(not(target_os = "none"))]
pub mod host;
mod interface;
mod interfaces;
mod inventory;
pub mod metrics;
pub mod net;
#[cfg(feature = "picoserve")]
pub mod picoserve;
mod power;
pub mod recorder;
mod settings;
mod system;
mod tasks;

#[cfg(test)]
mod tests;

/// The book's page for those who write applications: its examples are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/application.md")]
mod book {}

pub use embassy_futures as futures;
pub use embassy_time as time;
pub use embedded_io_async as io;
/// Makes an `async fn` the program of the machine, which runs once it is up. It takes the
/// [`System`] and returns an [`Outcome`]. What it returns ends neither the machine nor the
/// tasks that it has spawned.
///
/// On a host the package compiles and its tests run; the program itself only says how to boot
/// it.
///
/// ```no_run
/// #![cfg_attr(target_os = "none", no_std, no_main)]
///
/// #[godwit::main]
/// async fn main(system: godwit::System) -> Result<(), godwit::net::Error> {
///     let net = system.interface(0).await;
///     let socket = net.udp().bind(7)?;
///     let mut buffer = [0; 1500];
///     loop {
///         let (len, from) = socket.recv_from(&mut buffer).await;
///         socket.send_to(&buffer[..len], from).await?;
///     }
/// }
/// ```
pub use godwit_macros::main;
pub use interface::{Interface, Mac, NicFacts};
pub use log;
pub use migrate_agent::{Migration, State};
pub use power::StayOn;
pub use system::{Outcome, System};
pub use unikernel::memory::HeapUse;
pub use unikernel::watch;
pub use unikernel::{cmdline, crc32c, dma, println, random};

/// What `#[godwit::main]` expands to.
#[doc(hidden)]
#[macro_export]
macro_rules! __program {
    ($program:path) => {
        fn __godwit_start(kernel: $crate::__private::Kernel, spawner: $crate::__private::Spawner) {
            $crate::__private::start(kernel, spawner, $program)
        }
        $crate::__private::entry!(__godwit_start);
    };
}

#[doc(hidden)]
pub mod __private {
    #[cfg(target_os = "none")]
    pub use crate::boot::start;
    #[cfg(target_os = "none")]
    pub use unikernel::{Kernel, Spawner, entry};

    /// The program is a guest's kernel; on a host there is only this to say.
    #[cfg(not(target_os = "none"))]
    pub fn on_a_host<F: Future<Output: crate::Outcome>>(_: impl FnOnce(crate::System) -> F) {
        eprintln!(
            "this program boots as a virtual machine: `cargo xtask run`, or build it with \
             `--target x86_64-unknown-none` and give the result to QEMU's `-kernel`"
        );
        std::process::exit(2);
    }
}
