//! What the Intel families have in common: rings of two-quadword descriptors, refilled and reported
//! in batches, the checksums their offloads leave to software, and the [`Driver`] around them. A family's
//! descriptor layout comes in as a [`ReceiveFormat`] or [`TransmitFormat`], its registers as
//! [`Hardware`].

mod advanced;
mod checksum;
mod driver;
mod filters;
pub(crate) mod gigabit;
mod receive;
pub(crate) mod rss;
mod semaphore;
mod transmit;

pub(crate) use advanced::{AdvancedReceive, AdvancedTransmit, ReceiveErrors};
pub(crate) use checksum::{Checked, Offload, is_good};
pub(crate) use driver::{Driver, Hardware};
pub(crate) use filters::Table;
pub(crate) use receive::{Completion, ReceiveFormat, ReceiveRing, buffer_size};
pub(crate) use semaphore::Semaphore;
pub(crate) use transmit::{Piece, TransmitFormat, TransmitRing};

use unikernel::time::now_ns;

/// Ethernet header, and the shortest thing that can be called a frame.
pub(crate) const ETHERNET_HEADER: usize = 14;

/// The descriptors of a ring, as its device is told of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    /// Device address.
    pub(crate) address: u64,
    /// Size in bytes.
    pub(crate) bytes: usize,
    /// The tail to start with.
    pub(crate) tail: usize,
}

/// Looks until `condition` holds; `false` if it does not within `microseconds`. For waits that
/// hardware bounds by microseconds and virtual hardware by nothing.
pub(crate) fn wait_for(microseconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = now_ns() + microseconds * 1000;
    loop {
        if condition() {
            return true;
        }
        if now_ns() >= deadline {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Neither all zeroes nor a group address.
pub(crate) fn is_station_address(mac: [u8; 6]) -> bool {
    mac != [0; 6] && mac[0] & 1 == 0
}
