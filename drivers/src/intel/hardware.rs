//! What a family does to registers, and why a device does not start.

use super::{Descriptors, ReceiveFormat, Table, TransmitFormat};
use crate::error::{Error, Refusal};
use unikernel::mmio::Mmio;
use unikernel::nic::{Link, Settings};
use unikernel::pci::{PciAddress, Vector};

/// Why a device does not start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// It stays in reset.
    Stuck,
    /// The driver of its physical function does not answer.
    Silent,
    /// That driver refuses something.
    Refused(Refusal),
    /// It cannot do what this setting asks for.
    Unsupported(&'static str),
}

impl Trouble {
    pub(super) fn of(self, address: PciAddress, family: &'static str) -> Error {
        match self {
            Self::Stuck => Error::Reset(address),
            Self::Silent => Error::Silent(address),
            Self::Refused(what) => Error::Refused(address, what),
            Self::Unsupported(setting) => Error::Unsupported { address, family, setting },
        }
    }
}

/// What the driver does to registers.
pub(crate) trait Hardware: Sized + 'static {
    /// Name of the family, for people.
    const FAMILY: &'static str;
    /// Most receive queues that it can spread flows over.
    const QUEUES: usize = 1;
    /// It does not start without somebody else, who may be away for a while: a reset that fails is
    /// tried again.
    const RECOVERS: bool = false;
    /// The part of BAR 0 that it uses, in bytes.
    const SIZE: usize;
    /// Receive descriptors.
    type Receive: ReceiveFormat;
    /// Transmit descriptors.
    type Transmit: TransmitFormat;

    /// The device behind BAR 0, of which there are at least [`SIZE`](Self::SIZE) bytes.
    fn new(registers: Mmio) -> Self;

    /// The device does not answer: a register that is never all ones reads so.
    fn is_gone(&self) -> bool;

    /// Software reset, from any state. Interrupts are masked and nothing is pending afterwards.
    async fn reset(&mut self) -> Result<(), Trouble>;

    /// Masks interrupts and ends all DMA. `false` if that did not end in time.
    async fn end_dma(&mut self) -> bool;

    /// Ends all DMA and leaves the device in reset state. `false` if it did not end in time.
    async fn quiesce(&mut self) -> bool;

    /// Waits until the device is ready after its last reset. `false` if it does not get there.
    async fn settle(&self) -> bool {
        true
    }

    /// The station address: what the device loaded, else what its NVM says. The error is what was
    /// found instead.
    async fn mac(&mut self) -> Result<[u8; 6], [u8; 6]>;

    /// Gives it that one, be it the one it has, until the next reset.
    async fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), Trouble>;

    /// MSI-X table entries it can use for so many receive queues; it gets fewer, MSI or INTx where
    /// there are not as many.
    fn entries(_queues: usize) -> u16 {
        1
    }

    /// Lets the MAC follow the PHY, which negotiates by itself.
    async fn enable_link(&mut self);

    /// The link as it is now; down when the device is gone.
    fn link(&self) -> Link;

    /// After a reset, before there are rings: which frames to receive, beside those to the station
    /// address and broadcasts, and what to do to them. Buffers have `buffer` bytes: a power of two
    /// from 2 KiB to 16 KiB.
    async fn configure(&mut self, settings: &Settings, buffer: usize) -> Result<(), Trouble>;

    /// Lets frames to multicast groups through: those in the table and no others. The device has
    /// `before`, if that is known.
    fn set_multicast(&mut self, table: &Table, before: Option<&Table>);

    /// Receives into the rings of the queues from now on.
    async fn enable_receive(&mut self, queues: &[Descriptors]);

    /// Transmits from a ring from now on.
    async fn enable_transmit(&mut self, ring: Descriptors);

    /// Sets up throttling, and how the device raises its interrupt.
    fn route_interrupts(&mut self, vector: &Vector);

    /// Raises no interrupt.
    fn mask_interrupts(&self);

    /// Interrupts for received frames and changes of the link, and if asked for room to transmit. A
    /// cause that was raised before interrupts at once.
    fn unmask_interrupts(&self, with_transmit: bool);

    /// Acknowledges what was raised; all must be masked. Tells whether the link changed.
    fn take_causes(&mut self) -> bool;

    /// Gives the device the receive descriptors of a queue before `tail`.
    fn set_receive_tail(&self, queue: usize, tail: usize);

    /// Gives the device the transmit descriptors before `tail`.
    fn set_transmit_tail(&self, tail: usize);

    /// Frames missed, and frames damaged on the way, since the last call.
    fn take_errors(&mut self) -> (u64, u64);

    /// Something has undone what it was set up with, and will let it be set up again.
    fn needs_reset(&self) -> bool {
        false
    }
}
