//! What drivers of any family have in common.

mod checksum;
mod ethernet;
mod wait;

pub(crate) use checksum::{Checked, Offload, fill, is_good};
pub(crate) use ethernet::{HEADER as ETHERNET_HEADER, is_station_address};
pub(crate) use wait::{pause, wait_for};
