//! The lab.

pub mod segment;
