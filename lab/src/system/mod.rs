//! This machine: its programs, packages and directories, and processes started on it.

pub mod backports;
pub mod command;
pub mod debian;
pub mod detail;
pub mod download;
pub mod libraries;
pub mod lock;
pub mod namespace;
pub mod paths;
pub mod process;
pub mod processors;
pub mod progress;
pub mod scratch;
pub mod signals;
pub mod tools;
