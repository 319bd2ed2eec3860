//! Rules of this project that neither the compiler nor clippy checks.
//!
//! - No circles between modules ([`circles`]): whoever reads a module can read what it is built on
//!   first, and never comes back to where they started.
//! - No long lines ([`lines`]).
//! - No links that lead nowhere ([`links`]).
//! - No warning of the guest that the documentation does not explain ([`messages`]).
//! - The tests that documents name exist ([`documents`]).
//! - Each dependency has its reason, comes from the one registry under a licence that goes with
//!   ours, and is there once unless there is a reason ([`dependencies`]).
//!
//! `cargo run -p house-rules -- FOLDER…` prints the circles of the crates in these folders.
#![forbid(unsafe_code)]

pub mod circles;
pub mod dependencies;
pub mod documents;
mod graph;
pub mod lines;
pub mod links;
pub mod messages;
mod modules;
mod names;
