//! The guest's half of the migration capability. No I/O of its own.
#![no_std]
#![forbid(unsafe_code)]
