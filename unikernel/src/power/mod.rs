//! The end of the machine: who asks for it, and how it is brought about.

mod button;
#[cfg(target_os = "none")]
mod exit;
#[cfg(target_os = "none")]
mod ports;

pub use button::{Button, Ports};
#[cfg(target_os = "none")]
pub(crate) use exit::set_pm1a_control;
#[cfg(target_os = "none")]
pub use exit::{FAILED, exit};
#[cfg(target_os = "none")]
pub use ports::MachinePorts;
