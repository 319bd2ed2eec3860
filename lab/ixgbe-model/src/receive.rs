//! Reception: filters, queues, advanced descriptors and their write-back (datasheet 7.1).

use std::{borrow::Cow, collections::VecDeque};

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::{
    checksum,
    device::Device,
    fault::Fault,
    filters,
    memory::BadAddress,
    offload::SHORTEST,
    packet::{self, Network, Packet, TAG, TAG_AT, Transport},
    register_file::Registers,
    registers as reg,
    ring::Ring,
    rss,
    statistics::{self, Way},
};

/// Bytes of frames that wait for descriptors: the receive packet buffer (7.1.3).
const BUFFER: usize = 512 << 10;
/// Ethernet's check sequence.
const FCS: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const FCS_LENGTH: usize = 4;

// Status and errors in the write-back (7.1.6).
const DONE: u64 = 1 << 0;
const END_OF_PACKET: u64 = 1 << 1;
const VLAN: u64 = 1 << 3;
const UDP_CHECKED: u64 = 1 << 4;
const L4_CHECKED: u64 = 1 << 5;
const IP_CHECKED: u64 = 1 << 6;
const L4_ERROR: u64 = 1 << 30;
const IP_ERROR: u64 = 1 << 31;

/// Why a frame cannot be delivered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// Later it may.
    Wait,
    /// The queue says to drop (SRRCTL.DROP_EN), or does not run.
    Drop,
}

/// Frames that wait for descriptors.
#[derive(Default)]
pub(crate) struct Receive {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Receive {
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether the driver enabled link flow control and the buffer is above the threshold: then the
    /// peer has to wait, as a switch does that was sent PAUSE (3.7.7).
    pub(crate) fn is_paused(&self, registers: &Registers) -> bool {
        let threshold = registers.get(reg::FCRTH0);
        registers.get(reg::FCCFG) & reg::FCCFG_TRANSMIT_LINK != 0
            && threshold & reg::FCRTH_ENABLE != 0
            && self.bytes > (threshold & 0x7FFE0) as usize
    }

    /// Says what a queue that was just enabled asks for and this model has not.
    pub(crate) fn check(&self, registers: &Registers, queue: usize) {
        let kind = registers.get(reg::rx(queue, reg::SRRCTL)) >> 25 & 7;
        if kind != 1 {
            log::error!(
                "receive queue {queue} asks for descriptor type {kind}; the model has advanced \
                 descriptors with one buffer (1) only, and receives nothing on this queue"
            );
        }
        let mrqc = registers.get(reg::MRQC);
        if !rss::mode_is_modelled(mrqc) {
            log::error!("MRQC {mrqc:#x} asks for more than RSS; all frames go to queue 0");
        }
    }
}

/// What the device knows about a frame when it writes it back.
struct Report {
    low: u64,
    status: u64,
    tag: u16,
}

impl Device {
    /// A frame came in from the wire.
    pub(crate) fn received(&mut self, frame: &[u8]) {
        let runs = self.registers.get(reg::RXCTRL) & reg::RXCTRL_ENABLE != 0;
        if !runs || !self.is_master() || !self.link.is_up() {
            return;
        }
        if !self.receive.waiting.is_empty() {
            self.park(frame);
            return;
        }
        if self.deliver(frame) == Err(Full::Wait) {
            self.park(frame);
        }
    }

    /// Keeps a frame until there are descriptors, or counts it as missed.
    fn park(&mut self, frame: &[u8]) {
        if self.receive.bytes + frame.len() > BUFFER {
            statistics::missed(&mut self.registers, 0);
            self.interrupts.other(reg::CAUSE_RX_MISS);
            return;
        }
        let was_paused = self.receive.is_paused(&self.registers);
        self.receive.bytes += frame.len();
        self.receive.waiting.push_back(frame.to_vec());
        if !was_paused && self.receive.is_paused(&self.registers) {
            self.registers.count(reg::LXOFFTXC, 1);
        }
    }

    /// The driver gave descriptors: frames that waited may go.
    pub(crate) fn refilled(&mut self) {
        let was_paused = self.receive.is_paused(&self.registers);
        while let Some(frame) = self.receive.waiting.pop_front() {
            if self.deliver(&frame) == Err(Full::Wait) {
                self.receive.waiting.push_front(frame);
                break;
            }
            self.receive.bytes -= frame.len();
        }
        if was_paused && !self.receive.is_paused(&self.registers) {
            self.registers.count(reg::LXONTXC, 1);
        }
    }

    fn deliver(&mut self, frame: &[u8]) -> Result<(), Full> {
        // Peers that are no wires send short frames, which on a wire would be padded.
        let mut frame = Cow::Borrowed(frame);
        if frame.len() < SHORTEST {
            frame.to_mut().resize(SHORTEST, 0);
        }
        let packet = packet::parse(&frame);
        if frame.len() > self.longest(&packet) {
            self.registers.count(reg::ROC, 1);
            return Ok(());
        }
        if !filters::accept(&self.registers, &frame, &packet) {
            return Ok(());
        }
        let hash = rss::hash(&self.registers, &frame, &packet);
        let queue = hash.queue;
        let control = self.registers.get(reg::rx(queue, reg::DCTL));
        let split = self.registers.get(reg::rx(queue, reg::SRRCTL));
        if control & reg::DCTL_ENABLE == 0 || split >> 25 & 7 != 1 {
            statistics::missed(&mut self.registers, queue);
            return Err(Full::Drop);
        }
        let report = self.report(&frame, &packet, hash, control);
        let mut data = Cow::Borrowed(&*frame);
        if report.status & VLAN != 0 {
            data.to_mut().drain(TAG_AT..TAG_AT + TAG);
        }
        if self.registers.get(reg::RDRXCTL) & reg::RDRXCTL_CRC_STRIP == 0 {
            let sequence = FCS.checksum(&frame).to_le_bytes();
            data.to_mut().extend(sequence);
        }
        match self.place(queue, split, &data, &report) {
            Ok(true) => {
                statistics::frame(&mut self.registers, Way::Received, queue, &frame);
                self.interrupts.queue(&self.registers, queue, false);
                Ok(())
            }
            Ok(false) if split & reg::SRRCTL_DROP != 0 => {
                statistics::missed(&mut self.registers, queue);
                Err(Full::Drop)
            }
            Ok(false) => Err(Full::Wait),
            Err(bad) => {
                self.bad_address(bad);
                Err(Full::Drop)
            }
        }
    }

    /// Longest frame taken, without check sequence (8.2.3.22); a tag is free.
    fn longest(&self, packet: &Packet) -> usize {
        let jumbo = self.registers.get(reg::HLREG0) & reg::HLREG0_JUMBO != 0;
        let length = if jumbo { (self.registers.get(reg::MAXFRS) >> 16) as usize } else { 1518 };
        length.saturating_sub(FCS_LENGTH) + if packet.vlan.is_some() { TAG } else { 0 }
    }

    fn report(&self, frame: &[u8], packet: &Packet, hash: rss::Hash, control: u32) -> Report {
        let mut status = 0;
        let mut kind = 0;
        match packet.network {
            Some((Network::V4 { options }, at)) => {
                kind |= if options { 1 << 1 } else { 1 << 0 };
                status |= IP_CHECKED;
                let length = usize::from(frame[at] & 0xF) * 4;
                if checksum::of(&frame[at..at + length]) != 0 {
                    status |= IP_ERROR;
                }
            }
            Some((Network::V6 { extensions }, _)) => {
                kind |= if extensions { 1 << 3 } else { 1 << 2 };
            }
            None => {}
        }
        match packet.transport {
            Some((Transport::Tcp, _)) => kind |= 1 << 4,
            Some((Transport::Udp, _)) => kind |= 1 << 5,
            Some((Transport::Sctp, _)) => kind |= 1 << 6,
            None => {}
        }
        if let Some(right) = checksum::transport_is_right(frame, packet) {
            status |= L4_CHECKED;
            if matches!(packet.transport, Some((Transport::Udp, _))) {
                status |= UDP_CHECKED;
            }
            if !right {
                status |= L4_ERROR;
            }
        }
        let mut tag = 0;
        if let (Some(vlan), true) = (packet.vlan, control & reg::RXDCTL_VLAN_STRIP != 0) {
            status |= VLAN;
            tag = vlan;
        }
        // The field for the hash is the fragment checksum's unless RXCSUM.PCSD is set (8.2.3.7).
        let hashed = self.registers.get(reg::RXCSUM) & reg::RXCSUM_PACKET_CHECKSUM_DISABLED != 0;
        let hash = if hashed { hash } else { rss::Hash::default() };
        let low = u64::from(hash.kind) | kind << 4 | u64::from(hash.value) << 32;
        Report { low, status, tag }
    }

    /// Writes a frame to the buffers of a queue and its descriptors back. `false`: there are too
    /// few.
    fn place(
        &mut self,
        queue: usize,
        split: u32,
        data: &[u8],
        report: &Report,
    ) -> Result<bool, BadAddress> {
        let Some(ring) = Ring::receive(&self.registers, queue) else { return Ok(false) };
        // Buffers are in KiB (8.2.3.8).
        let size = ((split & 0x1F) as usize) << 10;
        if size == 0 {
            return Ok(false);
        }
        let needed = data.len().div_ceil(size);
        if needed > ring.available() {
            return Ok(false);
        }
        let fault = self.faults.next();
        let mut head = ring.head;
        for (index, part) in data.chunks(size).enumerate() {
            let at = ring.address(head);
            let [buffer, _] = self.memory.descriptor(at)?;
            let last = index + 1 == needed;
            if fault == Some(Fault::Death) {
                self.memory.write(buffer, &part[..part.len() / 2])?;
                self.dead = true;
                return Ok(true);
            }
            if fault != Some(Fault::Early) {
                self.memory.write(buffer, part)?;
            }
            let end = if last && fault != Some(Fault::Endless) {
                END_OF_PACKET | report.status
            } else {
                0
            };
            let length = match fault {
                Some(Fault::Truncated) => 1,
                Some(Fault::Oversized) => 0xFFFF,
                _ => part.len() as u64,
            };
            let high = DONE | end | length << 32 | u64::from(report.tag) << 48;
            let at = match fault {
                Some(Fault::OutOfRange) => ring.address(ring.tail),
                _ => at,
            };
            self.memory.publish(at, report.low)?;
            self.memory.publish(at + 8, high)?;
            if fault == Some(Fault::Early) {
                self.memory.write(buffer, part)?;
            }
            head = ring.next(head);
        }
        self.registers.set(reg::rx(queue, reg::HEAD), head);
        Ok(true)
    }
}
