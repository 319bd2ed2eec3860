//! The lab: a KVM host in a process, the migration driver, and the report.
#![forbid(unsafe_code)]

pub mod addresses;
pub mod bench;
pub mod build;
pub mod choices;
pub mod clock;
pub mod console;
pub mod fuzz;
pub mod guest;
pub mod hardware;
pub mod host;
pub mod initramfs;
pub mod local;
pub mod migration;
pub mod nested;
pub mod parts;

pub mod qmp;
pub mod rehearsal;
pub mod report;
pub mod result;
pub mod runner;
pub mod segment;
pub mod source;
pub mod system;

pub use lab_init as init;
