//! Transmission: advanced and legacy descriptors, contexts, write-back (datasheet 7.2).

use crate::{
    host::Host,
    memory::BadAddress,
    offload::{self, Context, FlagMasks, SHORTEST},
    port::Port,
    receive::Receive,
    registers as reg,
    ring::Ring,
    statistics::{self, Way},
};

/// Longest packet that a driver may have segmented (7.2.4), with room for its headers.
const LONGEST: usize = (256 << 10) + 512;

// Bits of a descriptor's second quadword (7.2.3).
const END_OF_PACKET: u64 = 1 << 24;
const REPORT_STATUS: u64 = 1 << 27;
const ADVANCED: u64 = 1 << 29;
const INSERT_VLAN: u64 = 1 << 30;
const SEGMENT: u64 = 1 << 31;
const INSERT_IP_CHECKSUM: u64 = 1 << 40;
const INSERT_L4_CHECKSUM: u64 = 1 << 41;
// Kinds of advanced descriptors (DTYP).
const CONTEXT: u64 = 2;
const DATA: u64 = 3;
/// Descriptor done, in the upper half of the second quadword.
const DONE: u32 = 1 << 0;

/// What a queue remembers between descriptors.
#[derive(Default)]
struct Queue {
    contexts: [Context; 2],
    packet: Vec<u8>,
    /// Second quadword of the packet's first descriptor, which says what to do with it.
    first: Option<u64>,
}

/// The transmit unit.
pub(crate) struct Transmit {
    queues: Vec<Queue>,
    /// Queues that stopped with work left because the wire had no room.
    pub(crate) held: Vec<usize>,
    /// Packets dropped because their descriptors made no sense.
    pub(crate) malformed: u64,
}

impl Transmit {
    pub(crate) fn new() -> Self {
        let queues = (0..reg::QUEUES).map(|_| Queue::default()).collect();
        Self { queues, held: Vec::new(), malformed: 0 }
    }

    /// A queue was disabled: what it had of an unfinished packet is dropped.
    pub(crate) fn stop(&mut self, queue: usize) {
        self.queues[queue] = Queue::default();
    }

    /// Sends what the driver put into a queue. In loopback the frames go to `receive`.
    pub(crate) fn send(
        &mut self,
        queue: usize,
        host: &mut Host,
        port: &mut Port,
        receive: &mut Receive,
    ) {
        let runs = host.registers.get(reg::DMATXCTL) & reg::DMATXCTL_ENABLE != 0
            && host.registers.get(reg::tx(queue, reg::DCTL)) & reg::DCTL_ENABLE != 0;
        if !runs || !host.is_master() {
            return;
        }
        let Self { queues, held, malformed } = self;
        let mut sender = Sender { queue, host, port, receive, held, malformed };
        if let Err(bad) = sender.work(&mut queues[queue]) {
            sender.host.bad_address(bad);
        }
        sender.port.wire.flush();
    }
}

/// What one queue needs to send.
struct Sender<'a> {
    queue: usize,
    host: &'a mut Host,
    port: &'a mut Port,
    receive: &'a mut Receive,
    held: &'a mut Vec<usize>,
    malformed: &'a mut u64,
}

impl Sender<'_> {
    /// Processes descriptors until there are none left, or no room on the wire.
    fn work(&mut self, state: &mut Queue) -> Result<(), BadAddress> {
        let Some(ring) = Ring::transmit(&self.host.registers, self.queue) else { return Ok(()) };
        let mut head = ring.head;
        let mut reported = false;
        let mut result = Ok(());
        while head != ring.tail {
            if !self.port.wire.has_room() {
                self.port.wire.flush();
                if !self.port.wire.has_room() {
                    if !self.held.contains(&self.queue) {
                        self.held.push(self.queue);
                    }
                    break;
                }
            }
            let at = ring.address(head);
            result = self.descriptor(state, at, &mut reported);
            if result.is_err() {
                break;
            }
            head = ring.next(head);
        }
        self.host.registers.set(reg::tx(self.queue, reg::HEAD), head);
        if reported {
            let low = self.host.registers.get(reg::tx(self.queue, reg::TDWBAL));
            if low & reg::TDWBAL_ENABLE != 0 {
                // Head write-back (7.2.3): the driver is told by this instead of by descriptors.
                let upper = u64::from(self.host.registers.get(reg::tx(self.queue, reg::TDWBAH)));
                self.host.memory.publish_u32(upper << 32 | u64::from(low & !3), head)?;
            }
            self.host.interrupts.queue(&self.host.registers, self.queue, true);
        }
        result
    }

    /// Processes one descriptor.
    fn descriptor(
        &mut self,
        state: &mut Queue,
        at: u64,
        reported: &mut bool,
    ) -> Result<(), BadAddress> {
        let [low, high] = self.host.memory.descriptor(at)?;
        let kind = high >> 20 & 0xF;
        if high & ADVANCED != 0 && kind == CONTEXT {
            state.contexts[(high >> 36 & 1) as usize] = Context::from_descriptor([low, high]);
        } else if high & ADVANCED == 0 || kind == DATA {
            let length = (high & 0xFFFF) as usize;
            let first = *state.first.get_or_insert(high);
            let old = state.packet.len();
            if old + length <= LONGEST {
                state.packet.resize(old + length, 0);
                self.host.memory.read(low, &mut state.packet[old..])?;
            }
            if high & END_OF_PACKET != 0 {
                if first & ADVANCED != 0 {
                    let context = state.contexts[(first >> 36 & 1) as usize];
                    self.packet(&mut state.packet, first, &context);
                } else {
                    self.legacy_packet(&mut state.packet, high);
                }
                state.packet.clear();
                state.first = None;
            }
        } else {
            *self.malformed += 1;
        }
        if high & REPORT_STATUS != 0 {
            *reported = true;
            let wants_head =
                self.host.registers.get(reg::tx(self.queue, reg::TDWBAL)) & reg::TDWBAL_ENABLE != 0;
            if !wants_head {
                self.host.memory.publish_u32(at + 12, DONE)?;
            }
        }
        Ok(())
    }

    /// Sends a whole packet that came in advanced descriptors.
    fn packet(&mut self, packet: &mut Vec<u8>, first: u64, context: &Context) {
        let tag = (first & INSERT_VLAN != 0).then_some(context.vlan);
        if first & SEGMENT == 0 {
            let (ip, l4) = (first & INSERT_IP_CHECKSUM != 0, first & INSERT_L4_CHECKSUM != 0);
            match offload::checksums(packet, context, ip, l4, None) {
                Ok(()) => self.put(packet, tag),
                Err(_) => self.malformed(packet.len(), context),
            }
            return;
        }
        let low = self.host.registers.get(reg::DTXTCPFLGL);
        let masks = FlagMasks {
            first: low as u16 & 0xFFF,
            middle: (low >> 16) as u16 & 0xFFF,
            last: self.host.registers.get(reg::DTXTCPFLGH) as u16 & 0xFFF,
        };
        let result = offload::segment(packet, context, masks, |frame| self.put(frame, tag));
        if result.is_err() {
            self.malformed(packet.len(), context);
        }
    }

    /// Sends a whole packet that came in legacy descriptors (7.2.3).
    fn legacy_packet(&mut self, packet: &mut Vec<u8>, last: u64) {
        const INSERT_CHECKSUM: u64 = 1 << 26;
        if last & INSERT_CHECKSUM != 0 {
            let (at, start) = ((last >> 16 & 0xFF) as usize, (last >> 40 & 0xFF) as usize);
            if start < packet.len() && at + 2 <= packet.len() {
                let sum = crate::checksum::of(&packet[start..]);
                packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
        }
        let tag = (last & INSERT_VLAN != 0).then_some((last >> 48) as u16);
        self.put(packet, tag);
    }

    fn malformed(&mut self, length: usize, context: &Context) {
        if *self.malformed == 0 {
            log::warn!("transmit queue {}: {length} bytes do not fit {context:?}", self.queue);
        }
        *self.malformed += 1;
    }

    /// Sends a frame: to the wire, or in loopback to reception.
    fn put(&mut self, frame: &mut Vec<u8>, tag: Option<u16>) {
        if let Some(tag) = tag {
            let ethertype = (self.host.registers.get(reg::DMATXCTL) >> 16) as u16;
            offload::insert_tag(frame, ethertype, tag);
        }
        if frame.len() < SHORTEST && self.host.registers.get(reg::HLREG0) & reg::HLREG0_PAD != 0 {
            frame.resize(SHORTEST, 0);
        }
        statistics::frame(&mut self.host.registers, Way::Sent, self.queue, frame);
        if !self.port.link.is_up() {
            return;
        }
        if self.host.registers.get(reg::HLREG0) & reg::HLREG0_LOOPBACK != 0 {
            self.receive.take(self.host, frame);
        } else {
            self.port.wire.put(frame);
        }
    }
}
