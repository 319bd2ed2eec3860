//! The bootable network application.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
