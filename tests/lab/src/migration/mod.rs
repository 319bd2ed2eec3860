//! Live migration as seen from outside.

pub mod console;
pub mod qmp;
