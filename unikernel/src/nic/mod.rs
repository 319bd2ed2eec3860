//! What the network stack needs of a NIC.
//!
//! A driver is polled in batches and sleeps on an interrupt between them:
//!
//! ```text
//! loop {
//!     nic.receive_batch(&mut batch); …                 // up to the caller's budget
//!     while nic.transmit_ready() { nic.transmit(…) }
//!     nic.flush();                                     // doorbells, once a batch
//!     if budget is used up || !nic.arm() { continue }  // work arrived meanwhile
//!     nic.interrupt().wait().await;
//! }
//! ```
//!
//! Interrupts stay off from the first `receive` after a wake-up until `arm`, so under load the NIC
//! is polled and raises none.

mod settings;

use alloc::boxed::Box;
use core::fmt;
use core::num::NonZeroU16;
use core::pin::Pin;

use crate::dma::{RxBuffer, TxBuffer};
use crate::irq::Interrupt;

pub use settings::{BadMtu, BadQueues, Mtu, Queues, Settings, VlanId};

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

/// That a device cuts long TCP packets into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Longest frame it takes for that in bytes, Ethernet header included.
    pub max_frame: usize,
}

/// What a NIC can do for the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Longest frame in bytes, Ethernet header included, VLAN tag and frame check sequence not.
    pub max_frame: usize,
    /// Checksums verified on receive: frames that fail are dropped and counted, the stack need not
    /// look again. A fragment has none of its own: what covers a whole datagram is then not
    /// verified.
    pub receive_checksums: Checksums,
    /// Checksums filled in on transmit, whatever the frame holds in their place.
    pub transmit_checksums: Checksums,
    /// TCP segmentation, over IPv4 and IPv6. Needs `transmit_checksums.tcp`.
    pub segmentation: Option<Segmentation>,
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
    /// Frames the device had no descriptor or no room for.
    pub missed: u64,
    /// Frames dropped because the pool had no buffer to replace theirs.
    pub no_buffer: u64,
    /// Frames dropped for a wrong checksum, at any layer.
    pub bad_checksum: u64,
    /// Frames dropped as malformed, truncated, or longer than a buffer; also write-backs that make
    /// no sense.
    pub bad_frame: u64,
    /// Frames dropped because they are not of the interface's VLAN.
    pub other_vlan: u64,
    /// Interrupts taken.
    pub interrupts: u64,
}

/// What takes a device its time, in which other tasks run.
pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Most frames of a [`Batch`].
pub const BATCH: usize = 32;

/// Frames received in one go, oldest first.
pub type Batch = heapless::Vec<RxBuffer, BATCH>;

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

    /// Adds received frames to a batch, until it is full or there are no more. A driver that
    /// keeps what it knows of its ring in the processor's registers from one frame to the next does
    /// better than this.
    fn receive_batch(&mut self, batch: &mut Batch) {
        while !batch.is_full()
            && let Some(frame) = self.receive()
        {
            // There is room.
            let _ = batch.push(frame);
        }
    }

    /// Whether `transmit` has room.
    fn transmit_ready(&mut self) -> bool;

    /// Queues the first `len` bytes of `frame`. Dropped when `transmit_ready` would have said no,
    /// or when `len` is longer than a frame may be.
    ///
    /// With `segment`, a TCP packet that the device cuts into packets with that many bytes of
    /// payload each, the last with what remains; only where [`Capabilities::segmentation`] says
    /// that it can.
    fn transmit(&mut self, frame: TxBuffer, len: usize, segment: Option<NonZeroU16>);

    /// Tells the device of frames queued and buffers refilled since the last call. Once a batch.
    fn flush(&mut self);

    /// Turns the device's interrupts on. `false`: work arrived meanwhile, they are still off, poll
    /// again.
    fn arm(&mut self) -> bool;

    /// The handle to wait on after `arm`.
    fn interrupt(&self) -> Interrupt;

    /// Receives frames to these group addresses, and broadcasts, from now on; no longer those of an
    /// earlier call. Others may arrive as well: filters may be coarse.
    fn accept_multicast(&mut self, groups: &[[u8; 6]]);

    /// Resets the device, whatever state it is in, and starts it again as it was: station address,
    /// filters, and the rings with their buffers. Frames on the way are lost.
    ///
    /// Other tasks run while the device takes its time.
    ///
    /// # Errors
    /// The device does not run, and every buffer is back in the pool. After [`ResetError::Later`]
    /// it [needs](Self::needs_reset) another reset some time later.
    fn reset(&mut self) -> LocalBoxFuture<'_, Result<(), ResetError>>;

    /// Something has undone what the device was set up with, such as a reset of the physical
    /// function it is part of: nothing moves until it is [reset](Self::reset), which it is time
    /// for now.
    fn needs_reset(&self) -> bool {
        false
    }

    /// The device is there to take over for another with the same station address, while that has
    /// no link or is away (VIRTIO_NET_F_STANDBY).
    fn is_standby(&self) -> bool {
        false
    }

    /// The hypervisor's dirty log sees what the device writes, so that nothing of it is marked.
    fn is_logged(&self) -> bool {
        false
    }

    /// Ends all DMA and gives every buffer back to the pool. Works at any moment, also when the
    /// device is gone, and more than once. Other tasks run while the device takes its time.
    fn stop(&mut self) -> LocalBoxFuture<'_, ()>;

    /// Counters since the driver started.
    fn statistics(&mut self) -> Statistics;
}

/// Why a NIC could not be reset. It does not run then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetError {
    /// It was stopped before.
    Stopped,
    /// It does not answer any more.
    Gone,
    /// It does not come out of reset.
    Stuck,
    /// It does not come out of reset as long as somebody else is away.
    Later,
}

impl fmt::Display for ResetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "the NIC was stopped: plug it again",
            Self::Gone => "the NIC does not answer: it was removed",
            Self::Stuck => "the NIC does not come out of reset: plug it again",
            Self::Later => "the NIC does not come out of reset: it is tried again",
        })
    }
}

impl core::error::Error for ResetError {}
