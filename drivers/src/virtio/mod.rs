//! virtio-net, the network device of hypervisors (Virtual I/O Device specification 1.3, 4.1 and
//! 5.1): modern interface over PCI, one pair of split virtqueues.
//!
//! Of a device that is known to be the hypervisor's own, the hypervisor's dirty log sees every
//! write, and nothing is marked. There is hardware that speaks virtio as well, passed through to
//! the machine, which writes unseen like any other: what is not known is marked (`origin.rs`).
//!
//! Receive buffers hold a header and a frame, in place, one after the other. Frames that the device
//! has put together from several (VIRTIO_NET_F_GUEST_TSO4 and the like) would need far longer
//! buffers and are not asked for, and so neither are mergeable buffers. Nothing per packet touches
//! a register; a batch costs at most one notification in each direction, none while the device
//! polls, and a wake-up nothing.

mod header;
mod iommu;
mod origin;
mod receive;
mod registers;
mod ring;
mod transmit;
mod transport;

pub use iommu::is_closed_iommu;

use crate::Error;
use crate::common::{ETHERNET_HEADER, fill, is_station_address};
use ::virtio::net::{F, Hdr};
use alloc::boxed::Box;
use core::num::NonZeroU16;
use embassy_futures::block_on;
use receive::{ReceiveQueue, buffer_size};
use registers::{NET_IDS, RECEIVE_QUEUE, TRANSMIT_QUEUE, VENDOR};
use ring::Ring;
use transmit::TransmitQueue;
use transport::Transport;
use unikernel::dma::{MAX_RUN, Pool, RxBuffer, TxBuffer};
use unikernel::irq::Interrupt;
use unikernel::nic::{
    Capabilities, Checksums, Link, LocalBoxFuture, Nic, ResetError, Segmentation, Settings,
    Statistics,
};
use unikernel::pci::{Device, Dma, Signalling, Vector};
use unikernel::time::now_ns;

/// Descriptors in a queue, if the device has so many.
const DESCRIPTORS: u16 = 256;
/// Memory that receive buffers may take.
const BUFFERS: usize = 1 << 20;
/// A message does not tell a change of the link from a frame. The link is looked at when there was
/// no frame, and at the latest after so long.
const LINK_LOOK_NS: u64 = 100_000_000;

/// Whether `ids` are those of a virtio network device.
pub(crate) fn is_ours((vendor, id): (u16, u16)) -> bool {
    vendor == VENDOR && NET_IDS.contains(&id)
}

/// What there is while the device runs.
struct Running {
    features: F,
    /// The hypervisor's dirty log sees what the device writes.
    is_logged: bool,
    max_frame: usize,
    receive: ReceiveQueue,
    transmit: TransmitQueue,
    /// Where each is notified.
    receive_bell: usize,
    transmit_bell: usize,
}

impl Running {
    /// Marks what the device wrote and nobody looked at. The device must have stopped.
    fn mark_completed(&mut self) {
        self.receive.mark_completed();
        self.transmit.ring().mark_completed();
    }
}

/// The driver of one virtio network device.
pub struct Virtio {
    device: Device,
    pool: &'static Pool,
    settings: Settings,
    transport: Transport,
    vector: Vector,
    /// `None` once stopped.
    running: Option<Dma<Running>>,
    mac: [u8; 6],
    capabilities: Capabilities,
    is_standby: bool,
    is_logged: bool,
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
    pub(crate) async fn start(
        device: Device,
        pool: &'static Pool,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let address = device.address();
        if settings.vlan.is_some() {
            return Err(Error::Unsupported { address, family: "virtio", setting: "vlan=" });
        }
        let mut transport = Transport::new(&device)?;
        let vector = device.enable_interrupt()?;
        let running = bring_up(&device, &mut transport, pool, settings, vector.signalling).await?;
        let features = running.features;
        let mac = transport.mac();
        if !features.contains(F::MAC) || !is_station_address(mac) {
            return Err(Error::NoAddress(address, mac));
        }
        let mut driver = Self {
            device,
            pool,
            settings: *settings,
            transport,
            vector,
            mac,
            capabilities: capabilities(&running),
            is_standby: features.contains(F::STANDBY),
            is_logged: running.is_logged,
            running: None,
            link: Link::default(),
            armed: false,
            blocked: false,
            link_in_doubt: false,
            looked_at: 0,
            busy: false,
            statistics: Statistics::default(),
        };
        driver.go(running);
        Ok(driver)
    }

    /// Lets the device begin.
    fn go(&mut self, running: Running) {
        let running = self.running.insert(self.device.start_dma(running));
        self.transport.go();
        if running.receive.ring().publish() {
            self.transport.notify(RECEIVE_QUEUE, running.receive_bell);
        }
        self.link = self.transport.link();
        self.looked_at = now_ns();
        (self.armed, self.blocked) = (false, false);
    }

    async fn restart(&mut self) -> Result<(), ResetError> {
        let Some(running) = self.running.take() else { return Err(ResetError::Stopped) };
        // From here on no request of the device passes that is still under way.
        let mut running = running.stop();
        running.mark_completed();
        let ended = !self.transport.is_gone() && self.transport.reset().await;
        // Its buffers go back to the pool, where the new queues find as many.
        drop(running);
        let signalling = self.vector.signalling;
        let (device, transport) = (&self.device, &mut self.transport);
        let running = match ended {
            true => bring_up(device, transport, self.pool, &self.settings, signalling).await.ok(),
            false => None,
        };
        let Some(running) = running else {
            self.shut_down();
            let gone = self.transport.is_gone();
            return Err(if gone { ResetError::Gone } else { ResetError::Stuck });
        };
        self.capabilities = capabilities(&running);
        self.is_logged = running.is_logged;
        self.go(running);
        Ok(())
    }

    async fn end(&mut self) {
        let Some(running) = self.running.take() else { return };
        if !self.transport.is_gone() && !self.transport.reset().await {
            log::warn!("{}: the device does not come out of reset, cut off", self.device.address());
        }
        self.shut_down();
        // From here on no request of the device passes. Its buffers go back to the pool after that.
        running.stop().mark_completed();
    }

    /// Keeps the device from interrupting, whatever it does.
    fn shut_down(&mut self) {
        self.armed = false;
        self.link = Link::default();
        self.vector.disable();
    }

    /// Looks at the link if it may have changed.
    fn follow_link(&mut self, raised: bool) {
        if self.vector.signalling == Signalling::MsiX {
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

/// From a device in any state to one that needs only be told to begin.
async fn bring_up(
    device: &Device,
    transport: &mut Transport,
    pool: &'static Pool,
    settings: &Settings,
    signalling: Signalling,
) -> Result<Running, Error> {
    let address = device.address();
    let dma = |error| Error::Dma(address, error);
    if !transport.reset().await {
        return Err(Error::Reset(address));
    }
    let features = transport.negotiate(wanted(), address)?;
    let is_logged = origin::is_logged(device.subsystem_ids(), features);
    let most = transport.mtu().map_or(usize::MAX, |mtu| ETHERNET_HEADER + usize::from(mtu));
    let max_frame = settings.max_frame().min(most);
    // A small MTU is about what is sent.
    let longest = max_frame.max(Settings::default().max_frame().min(most));

    let ring = |queue, longest| {
        let size = queue_size(transport.queue_size(queue), longest);
        Ring::new(pool, size, features.contains(F::EVENT_IDX), is_logged)
    };
    let receive = ring(RECEIVE_QUEUE, buffer_size(longest)).map_err(dma)?;
    let transmit = ring(TRANSMIT_QUEUE, 0).map_err(dma)?;
    let mut receive = ReceiveQueue::new(pool, receive, longest, is_logged).map_err(dma)?;
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
    Ok(Running { features, is_logged, max_frame, receive, transmit, receive_bell, transmit_bell })
}

/// What the driver makes use of where it is offered.
fn wanted() -> F {
    // ORDER_PLATFORM asks for the order in which x86 makes its accesses anyway.
    let general = F::VERSION_1 | F::ACCESS_PLATFORM | F::ORDER_PLATFORM | F::EVENT_IDX;
    let network = F::MAC | F::STATUS | F::SPEED_DUPLEX | F::MTU | F::STANDBY;
    general | network | F::CSUM | F::GUEST_CSUM | F::HOST_TSO4 | F::HOST_TSO6
}

/// How long a queue is made, of at most `most` descriptors with buffers of `buffer` bytes: a power
/// of two (2.7).
fn queue_size(most: u16, buffer: usize) -> u16 {
    let memory = BUFFERS.checked_div(buffer).unwrap_or(usize::MAX);
    let size = usize::from(most.min(DESCRIPTORS)).min(memory).max(2);
    1 << size.ilog2()
}

fn capabilities(running: &Running) -> Capabilities {
    let has = |features| running.features.contains(features);
    Capabilities {
        max_frame: running.max_frame,
        receive_checksums: Checksums { ipv4: true, tcp: true, udp: true },
        // By the device or by the driver, which does it faster than smoltcp.
        transmit_checksums: Checksums { ipv4: false, tcp: true, udp: true },
        segmentation: has(F::CSUM | F::HOST_TSO4 | F::HOST_TSO6)
            .then_some(Segmentation { max_frame: MAX_RUN }),
    }
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
        self.capabilities
    }

    fn receive(&mut self) -> Option<RxBuffer> {
        let running = self.running.as_mut()?;
        let frame = running.receive.receive(&mut self.statistics)?;
        self.busy = true;
        if self.armed {
            running.receive.ring().disable_interrupt();
            self.armed = false;
        }
        Some(frame)
    }

    fn transmit_ready(&mut self) -> bool {
        let Some(running) = &mut self.running else { return false };
        self.blocked = !running.transmit.is_ready();
        !self.blocked
    }

    fn transmit(&mut self, mut frame: TxBuffer, len: usize, segment: Option<NonZeroU16>) {
        let capabilities = self.capabilities;
        let max = match (segment, capabilities.segmentation) {
            (Some(_), Some(segmentation)) => segmentation.max_frame,
            _ => capabilities.max_frame,
        };
        let fits = self.transmit_ready() && len <= max.min(frame.len());
        let (true, Some(running)) = (fits, &mut self.running) else {
            self.statistics.transmit_dropped += 1;
            return;
        };
        let header = if running.features.contains(F::CSUM) {
            header::of(&mut frame[..len], segment)
        } else {
            fill(&mut frame[..len]);
            segment.is_none().then(Hdr::default)
        };
        let Some(header) = header else {
            self.statistics.transmit_dropped += 1;
            return;
        };
        if let Ok(stream) = frame.into_stream(len) {
            running.transmit.send(stream, len, header);
            self.statistics.transmitted += 1;
            self.statistics.transmitted_bytes += len as u64;
        }
    }

    fn flush(&mut self) {
        let Some(running) = &mut self.running else { return };
        running.transmit.reap();
        if running.transmit.ring().publish() {
            self.transport.notify(TRANSMIT_QUEUE, running.transmit_bell);
        }
        if running.receive.ring().publish() {
            self.transport.notify(RECEIVE_QUEUE, running.receive_bell);
        }
    }

    fn arm(&mut self) -> bool {
        let raised = self.vector.interrupt.take();
        self.statistics.interrupts += u64::from(raised);
        if self.running.is_some() {
            self.follow_link(raised);
        }
        let Some(running) = &mut self.running else { return true };
        if raised {
            self.vector.interrupt.unmask();
        }
        if !self.armed || raised {
            running.receive.ring().enable_interrupt();
            self.armed = true;
        }
        if self.blocked {
            running.transmit.ring().enable_interrupt();
        }
        let has_room_again = self.blocked && running.transmit.is_ready();
        if has_room_again || running.receive.ring().is_pending() {
            running.receive.ring().disable_interrupt();
            running.transmit.ring().disable_interrupt();
            self.armed = false;
        }
        self.armed
    }

    fn interrupt(&self) -> Interrupt {
        self.vector.interrupt.clone()
    }

    /// Without VIRTIO_NET_F_CTRL_RX there is no filter: QEMU's device is promiscuous
    /// (hw/net/virtio-net.c).
    fn accept_multicast(&mut self, _: &[[u8; 6]]) {}

    fn reset(&mut self) -> LocalBoxFuture<'_, Result<(), ResetError>> {
        Box::pin(self.restart())
    }

    fn is_standby(&self) -> bool {
        self.is_standby
    }

    fn is_logged(&self) -> bool {
        self.is_logged
    }

    fn stop(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.end())
    }

    fn statistics(&mut self) -> Statistics {
        self.statistics
    }
}

impl Drop for Virtio {
    fn drop(&mut self) {
        block_on(self.end());
    }
}
