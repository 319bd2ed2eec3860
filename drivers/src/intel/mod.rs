//! What the Intel families have in common: rings of two-quadword descriptors, refilled and reported
//! in batches, and the [`Driver`] around them. A family's descriptor layout comes in as a
//! [`ReceiveFormat`] or [`TransmitFormat`], its registers as [`Hardware`].

mod advanced;
mod driver;
mod filters;
pub(crate) mod gigabit;
mod hardware;
mod receive;
mod retry;
mod rings;
pub(crate) mod rss;
mod semaphore;
mod transmit;
pub(crate) mod vf;

pub(crate) use advanced::{AdvancedReceive, AdvancedTransmit, ReceiveErrors};
pub(crate) use driver::Driver;
pub(crate) use filters::Table;
pub(crate) use hardware::{Hardware, Trouble};
#[cfg(test)]
pub(crate) use receive::plain_is_what_the_completion_says;
pub(crate) use receive::{Completion, ReceiveFormat, ReceiveRing, buffer_size};
pub(crate) use semaphore::Semaphore;
pub(crate) use transmit::{Piece, TransmitFormat, TransmitRing};

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
