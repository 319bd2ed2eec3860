//! Transmission: advanced and legacy descriptors, contexts, write-back (datasheet 7.2).

use crate::{
    device::Device,
    memory::BadAddress,
    offload::{self, Context, FlagMasks, SHORTEST},
    registers as reg,
    ring::Ring,
    statistics::{self, Way},
};

/// Longest packet a driver may hand over for segmentation (7.2.4), with room for headers.
const LONGEST: usize = (256 << 10) + 512;

// Bits of a descriptor's second quadword (7.2.3).
const END_OF_PACKET: u64 = 1 << 24;
const REPORT_STATUS: u64 = 1 << 27;
const ADVANCED: u64 = 1 << 29;
const INSERT_VLAN: u64 = 1 << 30;
const SEGMENT: u64 = 1 << 31;
const INSERT_IP_CHECKSUM: u64 = 1 << 40;
const INSERT_L4_CHECKSUM: u64 = 1 << 41;
/// Kinds of advanced descriptors (DTYP).
const CONTEXT: u64 = 2;
const DATA: u64 = 3;
/// Done, in the upper half of the second quadword.
const DONE: u32 = 1 << 0;

/// What a queue remembers between descriptors.
#[derive(Default)]
struct Queue {
    contexts: [Context; 2],
    packet: Vec<u8>,
    /// Second quadword of the packet's first descriptor, which says what to do with it.
    first: Option<u64>,
}

/// The transmit queues.
pub(crate) struct Transmit {
    queues: Vec<Queue>,
    /// Queues that have work left for which the wire had no room.
    pub(crate) held: Vec<usize>,
    /// Packets that made no sense.
    pub(crate) malformed: u64,
}

impl Transmit {
    pub(crate) fn new() -> Self {
        let queues = (0..reg::QUEUES).map(|_| Queue::default()).collect();
        Self { queues, held: Vec::new(), malformed: 0 }
    }

    /// A queue was disabled: a packet that was not whole is forgotten.
    pub(crate) fn stop(&mut self, queue: usize) {
        self.queues[queue] = Queue::default();
    }
}

impl Device {
    /// Queues for which the wire had no room go on.
    pub(crate) fn resume(&mut self) {
        for queue in std::mem::take(&mut self.transmit.held) {
            self.send(queue);
        }
    }

    /// Transmission as a whole was enabled: what waits in queues goes.
    pub(crate) fn send_all(&mut self) {
        for queue in 0..reg::QUEUES {
            self.send(queue);
        }
    }

    /// Works through what a driver put into a queue.
    pub(crate) fn send(&mut self, queue: usize) {
        let runs = self.registers.get(reg::DMATXCTL) & reg::DMATXCTL_ENABLE != 0
            && self.registers.get(reg::tx(queue, reg::DCTL)) & reg::DCTL_ENABLE != 0;
        if !runs || !self.is_master() {
            return;
        }
        let mut state = std::mem::take(&mut self.transmit.queues[queue]);
        if let Err(bad) = self.work(queue, &mut state) {
            self.bad_address(bad);
        }
        self.transmit.queues[queue] = state;
        self.wire.flush();
    }

    fn work(&mut self, queue: usize, state: &mut Queue) -> Result<(), BadAddress> {
        let Some(ring) = Ring::transmit(&self.registers, queue) else { return Ok(()) };
        let mut head = ring.head;
        let mut reported = false;
        let mut result = Ok(());
        while head != ring.tail {
            if !self.wire.has_room() {
                self.wire.flush();
                if !self.wire.has_room() {
                    if !self.transmit.held.contains(&queue) {
                        self.transmit.held.push(queue);
                    }
                    break;
                }
            }
            let at = ring.address(head);
            result = self.descriptor(queue, state, at, &mut reported);
            if result.is_err() {
                break;
            }
            head = ring.next(head);
        }
        self.registers.set(reg::tx(queue, reg::HEAD), head);
        if reported {
            let low = self.registers.get(reg::tx(queue, reg::TDWBAL));
            if low & reg::TDWBAL_ENABLE != 0 {
                // Head write-back (7.2.3) takes the place of that of descriptors.
                let upper = u64::from(self.registers.get(reg::tx(queue, reg::TDWBAH)));
                self.memory.publish_u32(upper << 32 | u64::from(low & !3), head)?;
            }
            self.interrupts.queue(&self.registers, queue, true);
        }
        result
    }

    /// One descriptor.
    fn descriptor(
        &mut self,
        queue: usize,
        state: &mut Queue,
        at: u64,
        reported: &mut bool,
    ) -> Result<(), BadAddress> {
        let [low, high] = self.memory.descriptor(at)?;
        let kind = high >> 20 & 0xF;
        if high & ADVANCED != 0 && kind == CONTEXT {
            state.contexts[(high >> 36 & 1) as usize] = Context::from_descriptor([low, high]);
        } else if high & ADVANCED == 0 || kind == DATA {
            let length = (high & 0xFFFF) as usize;
            let first = *state.first.get_or_insert(high);
            let old = state.packet.len();
            if old + length <= LONGEST {
                state.packet.resize(old + length, 0);
                self.memory.read(low, &mut state.packet[old..])?;
            }
            if high & END_OF_PACKET != 0 {
                if first & ADVANCED != 0 {
                    let context = state.contexts[(first >> 36 & 1) as usize];
                    self.packet(queue, &mut state.packet, first, &context);
                } else {
                    self.legacy_packet(queue, &mut state.packet, high);
                }
                state.packet.clear();
                state.first = None;
            }
        } else {
            self.transmit.malformed += 1;
        }
        if high & REPORT_STATUS != 0 {
            *reported = true;
            let wants_head =
                self.registers.get(reg::tx(queue, reg::TDWBAL)) & reg::TDWBAL_ENABLE != 0;
            if !wants_head {
                self.memory.publish_u32(at + 12, DONE)?;
            }
        }
        Ok(())
    }

    /// A whole packet by advanced descriptors.
    fn packet(&mut self, queue: usize, packet: &mut Vec<u8>, first: u64, context: &Context) {
        let tag = (first & INSERT_VLAN != 0).then_some(context.vlan);
        if first & SEGMENT == 0 {
            let (ip, l4) = (first & INSERT_IP_CHECKSUM != 0, first & INSERT_L4_CHECKSUM != 0);
            match offload::checksums(packet, context, ip, l4, None) {
                Ok(()) => self.put(queue, packet, tag),
                Err(_) => self.malformed(queue, packet.len(), context),
            }
            return;
        }
        let low = self.registers.get(reg::DTXTCPFLGL);
        let masks = FlagMasks {
            first: low as u16 & 0xFFF,
            middle: (low >> 16) as u16 & 0xFFF,
            last: self.registers.get(reg::DTXTCPFLGH) as u16 & 0xFFF,
        };
        let result = offload::segment(packet, context, masks, |frame| self.put(queue, frame, tag));
        if result.is_err() {
            self.malformed(queue, packet.len(), context);
        }
    }

    /// A whole packet by legacy descriptors (7.2.3).
    fn legacy_packet(&mut self, queue: usize, packet: &mut Vec<u8>, last: u64) {
        const INSERT_CHECKSUM: u64 = 1 << 26;
        if last & INSERT_CHECKSUM != 0 {
            let (at, start) = ((last >> 16 & 0xFF) as usize, (last >> 40 & 0xFF) as usize);
            if start < packet.len() && at + 2 <= packet.len() {
                let sum = crate::checksum::of(&packet[start..]);
                packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
        }
        let tag = (last & INSERT_VLAN != 0).then_some((last >> 48) as u16);
        self.put(queue, packet, tag);
    }

    fn malformed(&mut self, queue: usize, length: usize, context: &Context) {
        if self.transmit.malformed == 0 {
            log::warn!("transmit queue {queue}: {length} bytes do not fit {context:?}");
        }
        self.transmit.malformed += 1;
    }

    /// A frame goes out.
    fn put(&mut self, queue: usize, frame: &mut Vec<u8>, tag: Option<u16>) {
        if let Some(tag) = tag {
            let ethertype = (self.registers.get(reg::DMATXCTL) >> 16) as u16;
            offload::insert_tag(frame, ethertype, tag);
        }
        if frame.len() < SHORTEST && self.registers.get(reg::HLREG0) & reg::HLREG0_PAD != 0 {
            frame.resize(SHORTEST, 0);
        }
        statistics::frame(&mut self.registers, Way::Sent, queue, frame);
        if self.registers.get(reg::HLREG0) & reg::HLREG0_LOOPBACK != 0 {
            self.received(frame);
        } else if self.link.is_up() {
            self.wire.put(frame);
        }
    }
}
