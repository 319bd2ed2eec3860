//! Who gets the received frames besides smoltcp: raw-frame sockets and UDP in place instead of it,
//! observers after it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::Range;

use smoltcp::time::Instant;
use smoltcp::wire::IpAddress;

use super::frame::{self, Header};
use super::inbox::Inbox;
use super::queue::Queue;
use crate::dma::{Pool, RxBuffer, SLOT_SIZE};

/// Sees each received frame once the stack is done with it, and may keep it.
///
/// It runs between two packets: it may not block nor call the stack, and what it costs is paid for
/// each packet. Frames that a raw-frame socket or UDP in place has taken do not come by here, nor
/// do those that are reflected, or that come while so much of the DMA memory is kept that the NIC
/// would go short.
pub trait Observer {
    /// Keeps the frame, or hands it on to the next observer. `at` is when the batch that it came
    /// in was begun with: to read the clock for each frame would cost more than to keep it.
    fn received(&mut self, frame: RxBuffer, at: embassy_time::Instant) -> Option<RxBuffer>;
}

/// Which frames a raw-frame socket takes.
pub type FrameFilter = Box<dyn Fn(&[u8]) -> bool>;

/// What becomes of a frame before it is sent back.
pub type FrameEdit = Box<dyn FnMut(&mut [u8])>;

/// Which frames are sent back, and how they are changed for that.
pub(super) struct Reflector {
    pub(super) filter: FrameFilter,
    pub(super) edit: FrameEdit,
}

/// A datagram as it was received: the frame, and where in it the payload is.
pub(super) struct WholeDatagram {
    pub(super) source: SocketAddr,
    pub(super) frame: RxBuffer,
    pub(super) payload: Range<usize>,
}

/// Tells takers of frames apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakerId(u64);

pub(super) struct Intake {
    pool: &'static Pool,
    observers: Vec<(TakerId, Box<dyn Observer>)>,
    reflector: Option<(TakerId, Reflector)>,
    frames: Vec<(TakerId, FrameFilter, Queue<RxBuffer>)>,
    datagrams: Vec<(u16, Queue<WholeDatagram>)>,
    inboxes: Vec<(u16, Inbox)>,
    /// Where datagrams for this interface go.
    destinations: Vec<IpAddress>,
    taken: u64,
    /// Frames that would have been kept but for the memory that they are in.
    refused: u64,
}

impl Intake {
    pub(super) fn new(pool: &'static Pool) -> Self {
        Self {
            pool,
            observers: Vec::new(),
            reflector: None,
            frames: Vec::new(),
            datagrams: Vec::new(),
            inboxes: Vec::new(),
            destinations: Vec::new(),
            taken: 0,
            refused: 0,
        }
    }

    /// Frames that would have been kept but for the memory that they are in.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn next_id(&mut self) -> TakerId {
        self.taken += 1;
        TakerId(self.taken)
    }

    pub(super) fn add_observer(&mut self, observer: Box<dyn Observer>) -> TakerId {
        let id = self.next_id();
        self.observers.push((id, observer));
        id
    }

    /// Gives the observer back, to be dropped where that may call the stack.
    pub(super) fn remove_observer(&mut self, id: TakerId) -> Option<Box<dyn Observer>> {
        let index = self.observers.iter().position(|(of, _)| *of == id)?;
        Some(self.observers.remove(index).1)
    }

    /// Sends frames back from now on. Returns what did so until now as well, to be dropped where
    /// that may call the stack.
    pub(super) fn set_reflector(&mut self, reflector: Reflector) -> (TakerId, Option<Reflector>) {
        let id = self.next_id();
        let before = self.reflector.replace((id, reflector));
        (id, before.map(|(_, before)| before))
    }

    /// Gives the reflector back, if it is that one.
    pub(super) fn remove_reflector(&mut self, id: TakerId) -> Option<Reflector> {
        let (_, reflector) = self.reflector.take_if(|(of, _)| *of == id)?;
        Some(reflector)
    }

    /// Whether a frame is sent back, before anybody else sees it.
    #[inline]
    pub(super) fn reflects(&self, frame: &[u8]) -> bool {
        self.reflector.as_ref().is_some_and(|(_, reflector)| (reflector.filter)(frame))
    }

    /// Whether the memory of a frame may be kept until it is sent: of one that is longer than a
    /// slot, much more than its copy would take. If not, it is counted.
    #[inline]
    pub(super) fn may_send_back(&mut self, frame: &RxBuffer) -> bool {
        let may = frame.memory() <= SLOT_SIZE || self.pool.may_keep(frame);
        self.refused += u64::from(!may);
        may
    }

    /// Changes a frame that is sent back.
    #[inline]
    pub(super) fn edit_reflected(&mut self, frame: &mut [u8]) {
        if let Some((_, reflector)) = &mut self.reflector {
            (reflector.edit)(frame);
        }
    }

    pub(super) fn add_frames(&mut self, filter: FrameFilter, queue: Queue<RxBuffer>) -> TakerId {
        let id = self.next_id();
        self.frames.push((id, filter, queue));
        id
    }

    /// Gives the filter back, to be dropped where that may call the stack.
    pub(super) fn remove_frames(&mut self, id: TakerId) -> Option<FrameFilter> {
        let index = self.frames.iter().position(|(of, ..)| *of == id)?;
        Some(self.frames.remove(index).1)
    }

    pub(super) fn add_datagrams(&mut self, port: u16, queue: Queue<WholeDatagram>) {
        self.datagrams.push((port, queue));
    }

    pub(super) fn remove_datagrams(&mut self, port: u16) {
        self.datagrams.retain(|(bound, _)| *bound != port);
    }

    pub(super) fn add_inbox(&mut self, port: u16, inbox: Inbox) {
        self.inboxes.push((port, inbox));
    }

    pub(super) fn remove_inbox(&mut self, port: u16) {
        self.inboxes.retain(|(bound, _)| *bound != port);
    }

    /// Puts a datagram that is whole into the inbox of its socket, and returns whether it was one;
    /// `verified` as for [`divert`](Self::divert). It has been found to be for this station.
    #[inline]
    pub(super) fn deliver(&self, frame: &[u8], header: Header, verified: bool) -> bool {
        if self.inboxes.is_empty() || !header.is_udp(&frame[header.payload..]) {
            return false;
        }
        let Some(udp) = frame::Udp::parse(frame, header) else { return false };
        let Some(inbox) = self.inbox(udp.port) else { return false };
        let is_ours = self.destinations.contains(&udp.destination)
            && (verified || frame::has_valid_checksums(frame));
        if is_ours {
            inbox.push(udp.source.into(), &frame[udp.payload]);
        }
        // Otherwise smoltcp finds the same, and drops it.
        is_ours
    }

    /// Whether nobody takes frames before smoltcp's sockets and their inboxes.
    #[inline]
    pub(super) fn diverts_nothing(&self) -> bool {
        self.frames.is_empty() && self.datagrams.is_empty()
    }

    /// The inbox that datagrams to a port go to.
    #[inline]
    pub(super) fn inbox(&self, port: u16) -> Option<&Inbox> {
        self.inboxes.iter().find(|(bound, _)| *bound == port).map(|(_, inbox)| inbox)
    }

    /// Where datagrams for this interface go, from now on.
    pub(super) fn set_destinations(&mut self, destinations: Vec<IpAddress>) {
        self.destinations = destinations;
    }

    /// Whether datagrams to this address are for this interface.
    pub(super) fn is_destination(&self, address: IpAddress) -> bool {
        self.destinations.contains(&address)
    }

    /// Takes a frame away from smoltcp if somebody is to have it instead. `mac` is the interface's,
    /// and `verified` that the NIC has verified IPv4 and UDP checksums.
    #[inline]
    pub(super) fn divert(
        &mut self,
        frame: RxBuffer,
        header: Header,
        mac: [u8; 6],
        verified: bool,
    ) -> Option<RxBuffer> {
        if self.diverts_nothing() {
            return Some(frame);
        }
        if let Some((_, _, queue)) = self.frames.iter().find(|(_, accepts, _)| accepts(&frame)) {
            if self.pool.may_keep(&frame) {
                queue.push(frame);
            } else {
                self.refused += 1;
            }
            return None;
        }
        self.divert_datagram(frame, header, mac, verified)
    }

    fn divert_datagram(
        &mut self,
        frame: RxBuffer,
        header: Header,
        mac: [u8; 6],
        verified: bool,
    ) -> Option<RxBuffer> {
        if self.datagrams.is_empty() {
            return Some(frame);
        }
        let Some(udp) = frame::Udp::parse(&frame, header) else { return Some(frame) };
        let is_here = (frame.starts_with(&mac) || frame[0] & 1 == 1)
            && self.destinations.contains(&udp.destination);
        let queue = self.datagrams.iter().find(|(port, _)| is_here && *port == udp.port);
        let Some((_, queue)) = queue else { return Some(frame) };
        if !verified && !frame::has_valid_checksums(&frame) {
            // smoltcp finds the same, and drops it.
            return Some(frame);
        }
        if self.pool.may_keep(&frame) {
            let (source, payload) = (udp.source.into(), udp.payload);
            queue.push(WholeDatagram { source, frame, payload });
        } else {
            self.refused += 1;
        }
        None
    }

    /// Shows a frame to the observers, until one keeps it.
    #[inline]
    pub(super) fn observe(&mut self, frame: RxBuffer, now: Instant) {
        if self.observers.is_empty() {
            return;
        }
        if !self.pool.may_keep(&frame) {
            self.refused += 1;
            return;
        }
        let at = embassy_time::Instant::from_micros(now.total_micros() as u64);
        let mut frame = Some(frame);
        for (_, observer) in &mut self.observers {
            frame = frame.and_then(|frame| observer.received(frame, at));
        }
    }
}
