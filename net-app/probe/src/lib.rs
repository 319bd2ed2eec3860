//! Wire format of the paced UDP source and of the guest's receiver reports.
#![no_std]
#![forbid(unsafe_code)]
