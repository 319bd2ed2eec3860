//! Reception (datasheet 7.1): a frame's way from the wire into the buffers of a queue.

use std::{borrow::Cow, collections::VecDeque};

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::{
    fault::{Fault, Faults},
    filters,
    host::Host,
    memory::BadAddress,
    offload::SHORTEST,
    packet::{self, Packet, TAG, TAG_AT},
    register_file::Registers,
    registers as reg,
    ring::Ring,
    rss,
    statistics::{self, Way},
    write_back::Report,
};

/// How many bytes of frames may wait for descriptors: the receive packet buffer (7.1.3).
const BUFFER: usize = 512 << 10;
/// Ethernet's check sequence.
const FCS: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const FCS_LENGTH: usize = 4;

/// Why a frame cannot be delivered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// There are too few descriptors: it may be delivered later.
    Wait,
    /// It never will be: the queue drops frames (SRRCTL.DROP_EN), or does not run.
    Drop,
}

/// The receive unit.
#[derive(Default)]
pub(crate) struct Receive {
    /// Frames that wait for descriptors.
    waiting: VecDeque<Vec<u8>>,
    /// How many bytes wait.
    bytes: usize,
    /// What is to go wrong with the next frames.
    pub(crate) faults: Faults,
}

impl Receive {
    /// A device reset. Faults that were ordered still come.
    pub(crate) fn reset(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }

    /// Whether the driver enabled link flow control and the buffer is above the threshold. Then the
    /// peer has to wait, like a switch that got a PAUSE frame (3.7.7).
    pub(crate) fn is_paused(&self, registers: &Registers) -> bool {
        let threshold = registers.get(reg::FCRTH0);
        registers.get(reg::FCCFG) & reg::FCCFG_TRANSMIT_LINK != 0
            && threshold & reg::FCRTH_ENABLE != 0
            && self.bytes > (threshold & 0x7FFE0) as usize
    }

    /// Logs what a queue that was just enabled asks for and the model does not have.
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

    /// Takes a frame from the wire, or from transmission in loopback.
    pub(crate) fn take(&mut self, host: &mut Host, frame: &[u8]) {
        let runs = host.registers.get(reg::RXCTRL) & reg::RXCTRL_ENABLE != 0;
        if !runs || !host.is_master() {
            return;
        }
        if !self.waiting.is_empty() {
            self.park(host, frame);
            return;
        }
        if self.deliver(host, frame) == Err(Full::Wait) {
            self.park(host, frame);
        }
    }

    /// Keeps a frame until there are descriptors, or counts it as missed.
    fn park(&mut self, host: &mut Host, frame: &[u8]) {
        if self.bytes + frame.len() > BUFFER {
            statistics::missed(&mut host.registers, 0);
            host.interrupts.other(reg::CAUSE_RX_MISS);
            return;
        }
        let was_paused = self.is_paused(&host.registers);
        self.bytes += frame.len();
        self.waiting.push_back(frame.to_vec());
        if !was_paused && self.is_paused(&host.registers) {
            host.registers.count(reg::LXOFFTXC, 1);
        }
    }

    /// The driver gave descriptors: frames that waited may go.
    pub(crate) fn refilled(&mut self, host: &mut Host) {
        let was_paused = self.is_paused(&host.registers);
        while let Some(frame) = self.waiting.pop_front() {
            if self.deliver(host, &frame) == Err(Full::Wait) {
                self.waiting.push_front(frame);
                break;
            }
            self.bytes -= frame.len();
        }
        if was_paused && !self.is_paused(&host.registers) {
            host.registers.count(reg::LXONTXC, 1);
        }
    }

    /// Delivers a frame to the queue it belongs to, unless the filters reject it.
    fn deliver(&mut self, host: &mut Host, frame: &[u8]) -> Result<(), Full> {
        // A peer that is software may send short frames, which on a real wire would be padded.
        let mut frame = Cow::Borrowed(frame);
        if frame.len() < SHORTEST {
            frame.to_mut().resize(SHORTEST, 0);
        }
        let packet = packet::parse(&frame);
        if frame.len() > longest(&host.registers, &packet) {
            host.registers.count(reg::ROC, 1);
            return Ok(());
        }
        if !filters::accept(&host.registers, &frame, &packet) {
            return Ok(());
        }
        let hash = rss::hash(&host.registers, &frame, &packet);
        let queue = hash.queue;
        let control = host.registers.get(reg::rx(queue, reg::DCTL));
        let split = host.registers.get(reg::rx(queue, reg::SRRCTL));
        if control & reg::DCTL_ENABLE == 0 || split >> 25 & 7 != 1 {
            statistics::missed(&mut host.registers, queue);
            return Err(Full::Drop);
        }
        let report = Report::new(&host.registers, &frame, &packet, hash, control);
        let mut data = Cow::Borrowed(&*frame);
        if report.strips_tag() {
            data.to_mut().drain(TAG_AT..TAG_AT + TAG);
        }
        if host.registers.get(reg::RDRXCTL) & reg::RDRXCTL_CRC_STRIP == 0 {
            let sequence = FCS.checksum(&frame).to_le_bytes();
            data.to_mut().extend(sequence);
        }
        match self.place(host, queue, split, &data, &report) {
            Ok(true) => {
                statistics::frame(&mut host.registers, Way::Received, queue, &frame);
                host.interrupts.queue(&host.registers, queue, false);
                Ok(())
            }
            Ok(false) if split & reg::SRRCTL_DROP != 0 => {
                statistics::missed(&mut host.registers, queue);
                Err(Full::Drop)
            }
            Ok(false) => Err(Full::Wait),
            Err(bad) => {
                host.bad_address(bad);
                Err(Full::Drop)
            }
        }
    }

    /// Writes a frame into the buffers of a queue, and writes their descriptors back. `false`: the
    /// queue has too few.
    fn place(
        &mut self,
        host: &mut Host,
        queue: usize,
        split: u32,
        data: &[u8],
        report: &Report,
    ) -> Result<bool, BadAddress> {
        let Some(ring) = Ring::receive(&host.registers, queue) else { return Ok(false) };
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
            let [buffer, _] = host.memory.descriptor(at)?;
            if fault == Some(Fault::Death) {
                host.memory.write(buffer, &part[..part.len() / 2])?;
                host.dead = true;
                return Ok(true);
            }
            if fault != Some(Fault::Early) {
                host.memory.write(buffer, part)?;
            }
            let length = match fault {
                Some(Fault::Truncated) => 1,
                Some(Fault::Oversized) => 0xFFFF,
                _ => part.len() as u64,
            };
            let last = index + 1 == needed && fault != Some(Fault::Endless);
            let [low, high] = report.descriptor(length, last);
            let at = match fault {
                Some(Fault::OutOfRange) => ring.address(ring.tail),
                _ => at,
            };
            host.memory.publish(at, low)?;
            host.memory.publish(at + 8, high)?;
            if fault == Some(Fault::Early) {
                host.memory.write(buffer, part)?;
            }
            head = ring.next(head);
        }
        host.registers.set(reg::rx(queue, reg::HEAD), head);
        Ok(true)
    }
}

/// The longest frame that is accepted, without check sequence (8.2.3.22). A tag does not count.
fn longest(registers: &Registers, packet: &Packet) -> usize {
    let jumbo = registers.get(reg::HLREG0) & reg::HLREG0_JUMBO != 0;
    let length = if jumbo { (registers.get(reg::MAXFRS) >> 16) as usize } else { 1518 };
    length.saturating_sub(FCS_LENGTH) + if packet.vlan.is_some() { TAG } else { 0 }
}
