//! What the network stack needs of a NIC.
//!
//! A driver is polled in batches and sleeps on an interrupt between them:
//!
//! ```text
//! loop {
//!     while let Some(frame) = nic.receive() { … }      // up to the caller's budget
//!     while nic.transmit_ready() { nic.transmit(…) }
//!     nic.flush();                                     // doorbells, once a batch
//!     if budget is used up || !nic.arm() { continue }  // work arrived meanwhile
//!     nic.interrupt().wait().await;
//! }
//! ```
//!
//! Interrupts stay off from the first `receive` after a wake-up until `arm`, so under load the NIC is
//! polled and raises none.

use crate::dma::{RxBuffer, TxBuffer};
use crate::irq::Interrupt;

/// State of the physical link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Frames can pass.
    pub up: bool,
    /// Speed in Mbit/s; 0 while the link is down.
    pub speed: u32,
    /// Full duplex.
    pub full_duplex: bool,
}

/// Checksums a device handles in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksums {
    /// IPv4 header.
    pub ipv4: bool,
    /// TCP, over IPv4 and IPv6.
    pub tcp: bool,
    /// UDP, over IPv4 and IPv6.
    pub udp: bool,
}

/// What a NIC can do for the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Longest frame in bytes, Ethernet header included, frame check sequence not.
    pub max_frame: usize,
    /// Checksums verified on receive: frames that fail are dropped and counted, the stack need not
    /// look again.
    pub receive_checksums: Checksums,
    /// Checksums filled in on transmit, whatever the frame holds in their place.
    pub transmit_checksums: Checksums,
}

/// Counters since the driver started. Frames dropped for one reason are counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames handed to the stack.
    pub received: u64,
    /// Bytes of these frames.
    pub received_bytes: u64,
    /// Frames taken from the stack.
    pub transmitted: u64,
    /// Bytes of these frames.
    pub transmitted_bytes: u64,
    /// Frames from the stack that were dropped: there was no room, or they were too long.
    pub transmit_dropped: u64,
    /// Frames the device had no descriptor for.
    pub missed: u64,
    /// Frames dropped because the pool had no buffer to replace theirs.
    pub no_buffer: u64,
    /// Frames dropped for a wrong checksum, at any layer.
    pub bad_checksum: u64,
    /// Frames dropped as malformed, truncated, or longer than a buffer; also write-backs that make no sense.
    pub bad_frame: u64,
    /// Interrupts taken.
    pub interrupts: u64,
}

/// A network interface card, as the stack sees it.
pub trait Nic {
    /// Name of the device family, for people.
    fn family(&self) -> &'static str;

    /// The station address.
    fn mac(&self) -> [u8; 6];

    /// The link as of the last interrupt or poll.
    fn link(&self) -> Link;

    /// What the stack can leave to the device.
    fn capabilities(&self) -> Capabilities;

    /// The next received frame.
    fn receive(&mut self) -> Option<RxBuffer>;

    /// Whether `transmit` has room.
    fn transmit_ready(&mut self) -> bool;

    /// Queues the first `len` bytes of `frame`. Dropped when `transmit_ready` would have said no, or
    /// when `len` is longer than a frame may be.
    fn transmit(&mut self, frame: TxBuffer, len: usize);

    /// Tells the device of frames queued and buffers refilled since the last call. Once a batch.
    fn flush(&mut self);

    /// Turns the device's interrupts on. `false`: work arrived meanwhile, they are still off, poll again.
    fn arm(&mut self) -> bool;

    /// The handle to wait on after `arm`.
    fn interrupt(&self) -> Interrupt;

    /// The device no longer answers: it was removed without warning. Nothing but `stop` makes sense then.
    fn gone(&self) -> bool;

    /// Ends all DMA and gives every buffer back to the pool. Works at any moment, also when the device is gone, and
    /// more than once.
    fn stop(&mut self);

    /// Counters since the driver started.
    fn statistics(&mut self) -> Statistics;
}
