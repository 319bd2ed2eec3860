//! virtio-net, the network device of hypervisors (Virtual I/O Device specification 1.3, 4.1 and 5.1): modern
//! interface over PCI, one pair of split virtqueues.
//!
//! The hypervisor itself moves its data, so its dirty log sees every write and nothing is ever marked:
//! receive buffers are [`FromHypervisor`](unikernel::dma::FromHypervisor). A hardware device that speaks virtio writes
//! unseen like any other; it says so (VIRTIO_F_ORDER_PLATFORM) and is refused.
//!
//! Receive buffers hold a header and a frame, in place, in one slot. Frames that the device has put together
//! from several (VIRTIO_NET_F_GUEST_TSO4 and the like) would need many slots and are not asked for, and so
//! neither are mergeable buffers. Nothing per packet touches a register; a batch costs at most one notification
//! in each direction, none while the device polls, and a wake-up nothing.

mod receive;
mod registers;
mod ring;
mod transmit;
mod transport;

use crate::Error;
use crate::intel::{ETHERNET_HEADER, Offload, is_station_address};
use ::virtio::net::F;
use core::num::NonZeroU16;
use receive::ReceiveQueue;
use registers::{NET_IDS, RECEIVE_QUEUE, TRANSMIT_QUEUE, VENDOR};
use ring::Ring;
use transmit::TransmitQueue;
use transport::Transport;
use unikernel::dma::{self, Pool, RxBuffer, TxBuffer};
use unikernel::irq::Interrupt;
use unikernel::nic::{Capabilities, Checksums, Link, Mtu, Nic, ResetError, Settings, Statistics};
use unikernel::pci::{Device, Signalling};
use unikernel::time::now_ns;

/// Descriptors in a queue, if the device has so many.
const DESCRIPTORS: u16 = 256;
/// A message does not tell a change of the link from a frame. The link is looked at when there was no frame, and
/// at the latest after so long.
const LINK_LOOK_NS: u64 = 100_000_000;

/// Whether `ids` are those of a virtio network device.
pub(crate) fn is_ours((vendor, id): (u16, u16)) -> bool {
    vendor == VENDOR && NET_IDS.contains(&id)
}

struct Queues {
    receive: ReceiveQueue,
    transmit: TransmitQueue,
    /// Where each is notified.
    receive_bell: usize,
    transmit_bell: usize,
}

/// The driver of one virtio network device.
pub struct Virtio {
    device: Device,
    transport: Transport,
    features: F,
    interrupt: Interrupt,
    signalling: Signalling,
    /// `None` once stopped.
    queues: Option<Queues>,
    mac: [u8; 6],
    max_frame: usize,
    link: Link,
    /// The receive queue's interrupt is on.
    armed: bool,
    /// The transmit queue was found full: an interrupt is wanted when it is not.
    blocked: bool,
    /// The link may have changed since it was last looked at, which was then.
    link_in_doubt: bool,
    looked_at: u64,
    /// A frame came since the last wake-up.
    busy: bool,
    statistics: Statistics,
}

impl Virtio {
    /// Resets the device, whatever state it is in, and starts it.
    pub(crate) fn start(
        device: Device,
        pool: &'static Pool,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let address = device.address();
        let unsupported = |setting| Error::Unsupported { address, family: "virtio", setting };
        if settings.vlan.is_some() {
            return Err(unsupported("vlan="));
        }
        if settings.mtu > Mtu::ETHERNET {
            return Err(unsupported("mtu= above 1500"));
        }
        let dma = |error| Error::Dma(address, error);
        let mut transport = Transport::new(&device)?;
        if !transport.reset() {
            return Err(Error::Reset(address));
        }
        let features = transport.negotiate(wanted(), address)?;
        let mac = transport.mac();
        if !features.contains(F::MAC) || !is_station_address(mac) {
            return Err(Error::NoAddress(address, mac));
        }
        let mtu =
            transport.mtu().map_or(settings.max_frame(), |mtu| ETHERNET_HEADER + usize::from(mtu));
        let max_frame = mtu.min(settings.max_frame());

        let vector = device.enable_interrupt()?;
        let signalling = vector.signalling;
        let receive = new_ring(&transport, RECEIVE_QUEUE, pool, features).map_err(dma)?;
        let transmit = new_ring(&transport, TRANSMIT_QUEUE, pool, features).map_err(dma)?;
        let mut receive = ReceiveQueue::new(pool, receive, max_frame).map_err(dma)?;
        let mut transmit = TransmitQueue::new(pool, transmit).map_err(dma)?;
        let bells = transport.enable_config_interrupt(signalling).and_then(|()| {
            let bell = |queue, ring: &mut Ring| {
                transport.enable_queue(queue, ring.size(), ring.device_addresses(), signalling)
            };
            Some((bell(RECEIVE_QUEUE, receive.ring())?, bell(TRANSMIT_QUEUE, transmit.ring())?))
        });
        let Some((receive_bell, transmit_bell)) = bells else {
            transport.fail();
            return Err(Error::Negotiation(address));
        };
        device.enable_bus_master();
        transport.go();
        if receive.ring().publish() {
            transport.notify(RECEIVE_QUEUE, receive_bell);
        }
        Ok(Self {
            link: transport.link(),
            device,
            transport,
            features,
            interrupt: vector.interrupt,
            signalling,
            queues: Some(Queues { receive, transmit, receive_bell, transmit_bell }),
            mac,
            max_frame,
            armed: false,
            blocked: false,
            link_in_doubt: false,
            looked_at: now_ns(),
            busy: false,
            statistics: Statistics::default(),
        })
    }

    /// Looks at the link if it may have changed.
    fn follow_link(&mut self, raised: bool) {
        if self.signalling == Signalling::MsiX {
            self.link_in_doubt |= raised;
            let busy = core::mem::take(&mut self.busy);
            if !self.link_in_doubt || busy && now_ns() - self.looked_at < LINK_LOOK_NS {
                return;
            }
        } else if !raised || !self.transport.take_config_change() {
            return;
        }
        self.link = self.transport.link();
        self.looked_at = now_ns();
        self.link_in_doubt = false;
    }
}

/// What the driver makes use of where it is offered.
fn wanted() -> F {
    let general = F::VERSION_1 | F::ACCESS_PLATFORM | F::EVENT_IDX;
    let network = F::MAC | F::STATUS | F::SPEED_DUPLEX | F::MTU | F::STANDBY;
    general | network | F::CSUM | F::GUEST_CSUM
}

/// A ring for a queue, with as many descriptors as the device allows.
fn new_ring(
    transport: &Transport,
    queue: u16,
    pool: &'static Pool,
    features: F,
) -> Result<Ring, dma::Error> {
    // The device may claim any number; the split ring's is a power of two (2.7).
    let most = transport.queue_size(queue).clamp(2, DESCRIPTORS);
    let size = 1 << most.ilog2();
    Ring::new(pool, size, features.contains(F::EVENT_IDX))
}

impl Nic for Virtio {
    fn family(&self) -> &'static str {
        "virtio"
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn link(&self) -> Link {
        self.link
    }

    fn capabilities(&self) -> Capabilities {
        let transmit = self.features.contains(F::CSUM);
        Capabilities {
            max_frame: self.max_frame,
            receive_checksums: Checksums { ipv4: true, tcp: true, udp: true },
            transmit_checksums: Checksums { ipv4: false, tcp: transmit, udp: transmit },
            segmentation: None,
        }
    }

    fn receive(&mut self) -> Option<RxBuffer> {
        let queues = self.queues.as_mut()?;
        let frame = queues.receive.receive(&mut self.statistics)?;
        self.busy = true;
        if self.armed {
            queues.receive.ring().disable_interrupt();
            self.armed = false;
        }
        Some(frame)
    }

    fn transmit_ready(&mut self) -> bool {
        let Some(queues) = &mut self.queues else { return false };
        self.blocked = !queues.transmit.is_ready();
        !self.blocked
    }

    fn transmit(&mut self, mut frame: TxBuffer, len: usize, _: Option<NonZeroU16>) {
        if !self.transmit_ready() || len > self.max_frame || len > frame.len() {
            self.statistics.transmit_dropped += 1;
            return;
        }
        let offload = self.features.contains(F::CSUM);
        let prepared = offload.then(|| Offload::prepare(&mut frame[..len], None, None)).flatten();
        let checksum = prepared.and_then(|offload| offload.checksum);
        if let (Some(queues), Ok(stream)) = (&mut self.queues, frame.into_stream(len)) {
            queues.transmit.send(stream, len, checksum);
            self.statistics.transmitted += 1;
            self.statistics.transmitted_bytes += len as u64;
        }
    }

    fn flush(&mut self) {
        let Some(queues) = &mut self.queues else { return };
        queues.transmit.reap();
        if queues.transmit.ring().publish() {
            self.transport.notify(TRANSMIT_QUEUE, queues.transmit_bell);
        }
        if queues.receive.ring().publish() {
            self.transport.notify(RECEIVE_QUEUE, queues.receive_bell);
        }
    }

    fn arm(&mut self) -> bool {
        let raised = self.interrupt.take();
        self.statistics.interrupts += u64::from(raised);
        if self.queues.is_some() {
            self.follow_link(raised);
        }
        let Some(queues) = &mut self.queues else { return true };
        if raised {
            self.interrupt.unmask();
        }
        if !self.armed || raised {
            queues.receive.ring().enable_interrupt();
            self.armed = true;
        }
        if self.blocked {
            queues.transmit.ring().enable_interrupt();
        }
        let has_room_again = self.blocked && queues.transmit.is_ready();
        if has_room_again || queues.receive.ring().is_pending() {
            queues.receive.ring().disable_interrupt();
            queues.transmit.ring().disable_interrupt();
            self.armed = false;
        }
        self.armed
    }

    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// Every device has to let through what it has no filter for.
    fn accept_multicast(&mut self, _: &[[u8; 6]]) {}

    fn reset(&mut self) -> Result<(), ResetError> {
        self.stop();
        Err(ResetError::Stuck)
    }

    fn gone(&self) -> bool {
        self.transport.is_gone()
    }

    fn stop(&mut self) {
        let Some(queues) = self.queues.take() else { return };
        self.armed = false;
        self.link = Link::default();
        if !self.transport.is_gone() && !self.transport.reset() {
            log::warn!("{}: the device does not come out of reset, cut off", self.device.address());
        }
        self.device.disable_interrupt();
        // From here on no request of the device passes, whatever it does.
        self.device.disable_bus_master();
        drop(queues);
    }

    fn statistics(&mut self) -> Statistics {
        self.statistics
    }
}

impl Drop for Virtio {
    fn drop(&mut self) {
        self.stop();
    }
}
