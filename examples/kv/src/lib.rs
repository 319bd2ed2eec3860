//! What there is of the key-value store besides the machine: clients of any kind are served from a
//! [`Database`].
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod commands;
mod connection;
mod database;
mod failure;
mod glob;
mod reply;
mod request;
mod store;

pub use connection::{Bounds, serve};
pub use database::Database;
pub use store::Store;
