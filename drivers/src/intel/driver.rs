//! The driver: what is the same for all families. What a family does to registers is its [`Hardware`].
//!
//! Receive buffers are used in place, one for each frame: 2048 bytes hold any frame the device lets
//! through while long packets are off. Nothing per packet touches a register; a batch costs a tail
//! write in each direction, and a wake-up four accesses more.

use super::{
    MAX_FRAME, ReceiveFormat, ReceiveRing, TransmitChecksum, TransmitFormat, TransmitRing,
};
use crate::Error;
use unikernel::dma::{Pool, RxBuffer, TxBuffer};
use unikernel::irq::Interrupt;
use unikernel::mmio::Mmio;
use unikernel::nic::{Capabilities, Checksums, Link, Nic, Statistics};
use unikernel::pci::{Device, PciAddress, Signalling};

/// What the driver does to registers.
pub(crate) trait Hardware: Sized + 'static {
    /// Name of the family, for people.
    const FAMILY: &'static str;
    /// Receive descriptors.
    type Receive: ReceiveFormat;
    /// Transmit descriptors.
    type Transmit: TransmitFormat;

    /// The device behind BAR 0.
    fn new(registers: Mmio, address: PciAddress) -> Result<Self, Error>;

    /// The device does not answer: a register that is never all ones reads so.
    fn is_gone(&self) -> bool;

    /// Software reset, from any state. Interrupts are masked and nothing is pending afterwards.
    fn reset(&mut self) -> Result<(), ()>;

    /// Ends all DMA and leaves the device in reset state. `false` if it did not end in time.
    fn quiesce(&mut self) -> bool;

    /// The station address: what the device loaded, else what its NVM says. The error is what was
    /// found instead.
    fn mac(&mut self) -> Result<[u8; 6], [u8; 6]>;

    /// Lets the MAC follow the PHY, which negotiates by itself.
    fn enable_link(&mut self);

    /// The link as it is now; down when the device is gone.
    fn link(&self) -> Link;

    /// Receives into `ring` from now on: frames to the station address, and broadcasts.
    fn enable_receive(&mut self, ring: u64, bytes: usize, tail: usize);

    /// Transmits from `ring` from now on.
    fn enable_transmit(&mut self, ring: u64, bytes: usize);

    /// Sets up throttling, and how the device raises its interrupt.
    fn route_interrupts(&mut self, signalling: Signalling);

    /// Raises no interrupt.
    fn mask_interrupts(&self);

    /// Interrupts for received frames and changes of the link, and if asked for room to transmit. A cause that
    /// was raised before interrupts at once.
    fn unmask_interrupts(&self, with_transmit: bool);

    /// Acknowledges what was raised; all must be masked. Tells whether the link changed.
    fn take_causes(&self) -> bool;

    /// Gives the device the receive descriptors before `tail`.
    fn set_receive_tail(&self, tail: usize);

    /// Gives the device the transmit descriptors before `tail`.
    fn set_transmit_tail(&self, tail: usize);

    /// Frames missed, and frames damaged on the way, since the last call.
    fn take_errors(&mut self) -> (u64, u64);
}

/// Descriptors in each ring. At gigabit speed 512 full frames are 6 ms of traffic: what the driver
/// may be late.
const DESCRIPTORS: usize = 512;
/// Descriptors start on 16-byte boundaries and come in multiples of 128 bytes (RDLEN).
const RING_ALIGN: usize = 128;

struct Rings<H: Hardware> {
    receive: ReceiveRing<H::Receive>,
    transmit: TransmitRing<H::Transmit>,
}

/// The driver of one device.
pub(crate) struct Driver<H: Hardware> {
    device: Device,
    hardware: H,
    interrupt: Interrupt,
    /// `None` once stopped.
    rings: Option<Rings<H>>,
    mac: [u8; 6],
    link: Link,
    /// The device's interrupts are on.
    armed: bool,
    /// The transmit ring was found full: an interrupt is wanted when it is not.
    blocked: bool,
    statistics: Statistics,
}

impl<H: Hardware> Driver<H> {
    /// Resets the device, whatever state it is in, and starts it.
    pub(crate) fn start(device: Device, pool: &'static Pool) -> Result<Self, Error> {
        let address = device.address();
        let dma = |error| Error::Dma(address, error);
        let mut hardware = H::new(device.bar(0)?, address)?;
        hardware.reset().map_err(|()| Error::Reset(address))?;
        let mac = hardware.mac().map_err(|mac| Error::NoAddress(address, mac))?;

        let receive = ReceiveRing::new(pool, DESCRIPTORS, RING_ALIGN).map_err(dma)?;
        let transmit = TransmitRing::new(pool, DESCRIPTORS, RING_ALIGN).map_err(dma)?;
        let vector = device.enable_interrupt()?;
        device.enable_bus_master();
        hardware.enable_link();
        hardware.enable_receive(receive.device_address(), receive.bytes(), receive.tail());
        hardware.enable_transmit(transmit.device_address(), transmit.bytes());
        hardware.route_interrupts(vector.signalling);
        // What was counted before is nobody's.
        hardware.take_errors();
        Ok(Self {
            link: hardware.link(),
            device,
            hardware,
            interrupt: vector.interrupt,
            rings: Some(Rings { receive, transmit }),
            mac,
            armed: false,
            blocked: false,
            statistics: Statistics::default(),
        })
    }

    fn disarm(&mut self) {
        self.hardware.mask_interrupts();
        self.armed = false;
    }
}

impl<H: Hardware> Nic for Driver<H> {
    fn family(&self) -> &'static str {
        H::FAMILY
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn link(&self) -> Link {
        self.link
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_frame: MAX_FRAME,
            receive_checksums: Checksums { ipv4: true, tcp: true, udp: true },
            transmit_checksums: Checksums { ipv4: false, tcp: true, udp: true },
        }
    }

    fn receive(&mut self) -> Option<RxBuffer> {
        let rings = self.rings.as_mut()?;
        let frame = rings.receive.receive(&mut self.statistics);
        if frame.is_some() && self.armed {
            self.disarm();
        }
        frame
    }

    fn transmit_ready(&mut self) -> bool {
        let Some(rings) = &mut self.rings else { return false };
        self.blocked = !rings.transmit.is_ready();
        !self.blocked
    }

    fn transmit(&mut self, mut frame: TxBuffer, len: usize) {
        if !self.transmit_ready() || len > MAX_FRAME || len > frame.len() {
            self.statistics.transmit_dropped += 1;
            return;
        }
        let checksum = TransmitChecksum::prepare(&mut frame[..len]);
        if let (Some(rings), Ok(stream)) = (&mut self.rings, frame.into_stream(len)) {
            rings.transmit.send(stream, len, checksum);
            self.statistics.transmitted += 1;
            self.statistics.transmitted_bytes += len as u64;
        }
    }

    fn flush(&mut self) {
        let Some(rings) = &mut self.rings else { return };
        if let Some(tail) = rings.transmit.flush() {
            self.hardware.set_transmit_tail(tail);
        }
        if let Some(tail) = rings.receive.flush() {
            self.hardware.set_receive_tail(tail);
        }
    }

    fn arm(&mut self) -> bool {
        let Some(rings) = &mut self.rings else { return true };
        let raised = self.interrupt.take();
        self.statistics.interrupts += u64::from(raised);
        if self.armed && raised {
            self.hardware.mask_interrupts();
            self.armed = false;
        }
        if !self.armed {
            if self.hardware.take_causes() {
                self.link = self.hardware.link();
            }
            // A frame that completed since the causes were taken has raised its cause again, and
            // unmasking a raised cause interrupts.
            self.hardware.unmask_interrupts(self.blocked);
            self.interrupt.unmask();
            self.armed = true;
        }
        let has_room_again = self.blocked && rings.transmit.is_ready();
        if rings.receive.is_pending() || has_room_again {
            self.disarm();
        }
        self.armed
    }

    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    fn gone(&self) -> bool {
        self.hardware.is_gone()
    }

    fn stop(&mut self) {
        // Counters go with the reset.
        self.statistics();
        let Some(rings) = self.rings.take() else { return };
        self.armed = false;
        self.link = Link::default();
        if !self.hardware.is_gone() && !self.hardware.quiesce() {
            log::warn!("{}: DMA did not end in time, cut off", self.device.address());
        }
        self.device.disable_interrupt();
        // From here on no request of the device passes, whatever it does.
        self.device.disable_bus_master();
        drop(rings);
    }

    fn statistics(&mut self) -> Statistics {
        if self.rings.is_some() && !self.hardware.is_gone() {
            let (missed, damaged) = self.hardware.take_errors();
            self.statistics.missed += missed;
            self.statistics.bad_frame += damaged;
        }
        self.statistics
    }
}

impl<H: Hardware> Drop for Driver<H> {
    fn drop(&mut self) {
        self.stop();
    }
}
