//! What there is of the key-value store besides the machine: clients of any kind are served from a
//! [`Database`].
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod bounds;
mod commands;
mod connection;
mod database;
mod failure;
mod glob;
mod reply;
mod request;
mod store;

pub use bounds::Bounds;
pub use connection::serve;
pub use database::Database;
pub use store::Store;
