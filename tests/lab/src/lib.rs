//! The lab: a KVM host in a process, the migration driver, and the report.
#![forbid(unsafe_code)]

pub mod host;
pub mod initramfs;
pub mod parts;
pub mod process;
pub mod migration;
pub mod segment;

pub use lab_init as init;
pub mod source;
