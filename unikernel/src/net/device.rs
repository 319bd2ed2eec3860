//! The NIC as smoltcp sees it: received buffers and transmit buffers as tokens, used in place.

use alloc::boxed::Box;

use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::dma::{Pool, RxBuffer, TxBuffer};
use crate::nic::Nic;

/// Ethernet header and an IP MTU of 1500.
const MAX_FRAME: usize = 14 + 1500;

/// Takes each received frame over once the stack is done with it.
///
/// It runs between two packets: it may not block, and what it costs is paid for each packet.
pub trait Observer {
    /// Becomes the owner of a received frame.
    fn received(&mut self, frame: RxBuffer);
}

/// What went through a stack since it was created, NICs that have gone included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, Ethernet headers included.
    pub rx_bytes: u64,
    /// Frames handed to a NIC.
    pub tx_frames: u64,
    /// Bytes handed to a NIC, Ethernet headers included.
    pub tx_bytes: u64,
    /// Replies not sent because the transmit ring or the pool was full.
    pub tx_dropped: u64,
}

pub(super) struct Device {
    pub(super) nic: Option<Box<dyn Nic>>,
    pub(super) observer: Option<Box<dyn Observer>>,
    pub(super) traffic: Traffic,
    /// Whether what is sent arrives anywhere. What is held back until it does need not be repeated.
    pub(super) link_up: bool,
    pool: &'static Pool,
    /// A transmit buffer in hand: a token must exist before it is known whether a frame will be written to it, and most
    /// tokens are never used.
    spare: Option<TxBuffer>,
    /// Where a reply goes that cannot be sent.
    scratch: Box<[u8; MAX_FRAME]>,
}

impl Device {
    pub(super) fn new(pool: &'static Pool) -> Self {
        Self {
            nic: None,
            observer: None,
            traffic: Traffic::default(),
            link_up: false,
            pool,
            spare: None,
            scratch: Box::new([0; MAX_FRAME]),
        }
    }

    /// Takes the NIC out, with every buffer that was held for it.
    pub(super) fn remove(&mut self) -> Option<Box<dyn Nic>> {
        self.spare = None;
        self.link_up = false;
        self.nic.take()
    }

    /// Rings the doorbells for everything sent and received since the last call.
    pub(super) fn flush(&mut self) {
        if let Some(nic) = &mut self.nic {
            nic.flush();
        }
    }

    /// Whether a frame could be sent now.
    pub(super) fn transmit_ready(&mut self) -> bool {
        let Some(nic) = &mut self.nic else { return false };
        if self.spare.is_none() {
            self.spare = self.pool.transmit_buffer();
        }
        self.link_up && self.spare.is_some() && nic.transmit_ready()
    }
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let buffer = self.nic.as_mut()?.receive()?;
        self.traffic.rx_frames += 1;
        self.traffic.rx_bytes += buffer.len() as u64;
        // Receiving must go on when the transmit side is full: the reply is what gets lost, as it would on the wire.
        let ready = self.transmit_ready();
        Some((
            RxToken { buffer, observer: self.observer.as_deref_mut() },
            TxToken {
                nic: self.nic.as_deref_mut(),
                spare: if ready { Some(&mut self.spare) } else { None },
                scratch: &mut self.scratch[..],
                traffic: &mut self.traffic,
            },
        ))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        self.transmit_ready().then(|| TxToken {
            nic: self.nic.as_deref_mut(),
            spare: Some(&mut self.spare),
            scratch: &mut self.scratch[..],
            traffic: &mut self.traffic,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        if let Some(nic) = &self.nic {
            let nic = nic.capabilities();
            let (receive, transmit) = (nic.receive_checksums, nic.transmit_checksums);
            capabilities.max_transmission_unit = MAX_FRAME.min(nic.max_frame);
            capabilities.checksum.ipv4 = software(receive.ipv4, transmit.ipv4);
            capabilities.checksum.tcp = software(receive.tcp, transmit.tcp);
            capabilities.checksum.udp = software(receive.udp, transmit.udp);
        }
        capabilities
    }
}

/// What is left for software when the NIC handles a checksum on `receive` and on `transmit`.
fn software(receive: bool, transmit: bool) -> Checksum {
    match (receive, transmit) {
        (false, false) => Checksum::Both,
        (false, true) => Checksum::Rx,
        (true, false) => Checksum::Tx,
        (true, true) => Checksum::None,
    }
}

pub(super) struct RxToken<'a> {
    buffer: RxBuffer,
    observer: Option<&'a mut (dyn Observer + 'static)>,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.buffer);
        if let Some(observer) = self.observer {
            observer.received(self.buffer);
        }
        result
    }
}

pub(super) struct TxToken<'a> {
    nic: Option<&'a mut (dyn Nic + 'static)>,
    spare: Option<&'a mut Option<TxBuffer>>,
    scratch: &'a mut [u8],
    traffic: &'a mut Traffic,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        match (self.nic, self.spare.and_then(Option::take)) {
            (Some(nic), Some(mut buffer)) => {
                let result = f(&mut buffer[..len]);
                nic.transmit(buffer, len);
                self.traffic.tx_frames += 1;
                self.traffic.tx_bytes += len as u64;
                result
            }
            _ => {
                self.traffic.tx_dropped += 1;
                f(&mut self.scratch[..len])
            }
        }
    }
}
