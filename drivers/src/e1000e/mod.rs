//! The 82574L, which QEMU calls e1000e.
//!
//! One receive and one transmit queue. The datasheet is Intel's for the 82574 GbE Controller Family,
//! revision 3.4; what is said of QEMU is in its `hw/net/e1000e_core.c`.
//!
//! Receive buffers are used in place, one for each frame: 2048 bytes hold any frame the device lets
//! through while long packets are off. Nothing per packet touches a register; a batch costs a tail
//! write in each direction, and a wake-up four accesses more.

mod descriptors;
mod hardware;
mod registers;

use crate::Error;
use crate::intel::{MAX_FRAME, ReceiveRing, TransmitChecksum, TransmitRing};
use descriptors::{Extended, Offloading};
use hardware::Hardware;
use unikernel::dma::{Pool, RxBuffer, TxBuffer};
use unikernel::irq::Interrupt;
use unikernel::nic::{Capabilities, Checksums, Link, Nic, Statistics};
use unikernel::pci::{Device, Signalling};

/// Vendor and device id.
pub const INTEL_82574L: (u16, u16) = (0x8086, 0x10d3);

/// Descriptors in each ring. At gigabit speed 512 full frames are 6 ms of traffic: what the driver
/// may be late.
const DESCRIPTORS: usize = 512;
/// Descriptors start on 16-byte boundaries and come in multiples of 128 bytes (RDLEN).
const RING_ALIGN: usize = 128;

struct Rings {
    receive: ReceiveRing<Extended>,
    transmit: TransmitRing<Offloading>,
}

/// The driver of one 82574L.
pub struct E1000e {
    device: Device,
    hardware: Hardware,
    interrupt: Interrupt,
    /// `None` once stopped.
    rings: Option<Rings>,
    mac: [u8; 6],
    link: Link,
    /// The device's interrupts are on.
    armed: bool,
    /// The transmit ring was found full: an interrupt is wanted when it is not.
    blocked: bool,
    statistics: Statistics,
}

impl E1000e {
    /// Resets the device, whatever state it is in, and starts it.
    pub fn start(device: Device, pool: &'static Pool) -> Result<Self, Error> {
        let address = device.address();
        let dma = |error| Error::Dma(address, error);
        let mut hardware = Hardware::new(device.bar(0)?, address)?;
        hardware.reset().map_err(|()| Error::Reset(address))?;
        let mac = hardware.mac().map_err(|mac| Error::NoAddress(address, mac))?;

        let receive = ReceiveRing::new(pool, DESCRIPTORS, RING_ALIGN).map_err(dma)?;
        let transmit = TransmitRing::new(pool, DESCRIPTORS, RING_ALIGN).map_err(dma)?;
        let vector = device.enable_interrupt()?;
        device.enable_bus_master();
        hardware.enable_link();
        hardware.enable_receive(receive.device_address(), receive.bytes(), receive.tail());
        hardware.enable_transmit(transmit.device_address(), transmit.bytes());
        hardware.route_interrupts(vector.signalling == Signalling::MsiX);
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

impl Nic for E1000e {
    fn family(&self) -> &'static str {
        "e1000e"
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
            if self.hardware.take_causes().link_changed {
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

impl Drop for E1000e {
    fn drop(&mut self) {
        self.stop();
    }
}
