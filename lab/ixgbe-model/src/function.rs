//! A virtual function (datasheet 7.10 and 8.3): the device through the registers that one has, and
//! the driver of the physical function, which the host has, at the other end of its mailbox.
//!
//! There is one function, and its queues are the device's first. What the host's driver does to the
//! device when it is asked is what Linux' ixgbe does (ixgbe_sriov.c).

use crate::registers as reg;

/// Bytes of its BAR 0.
pub(crate) const BAR0_SIZE: u32 = 0x4000;
/// Entries of its MSI-X table.
pub(crate) const VECTORS: usize = 3;
/// The bits of them in the registers of causes.
const CAUSES: u32 = 0b111;

const CTRL: u32 = 0x0000;
const STATUS: u32 = 0x0008;
const LINKS: u32 = 0x0010;
const EICR: u32 = 0x0100;
const EICS: u32 = 0x0104;
const EIMS: u32 = 0x0108;
const EIMC: u32 = 0x010C;
const EIAC: u32 = 0x0110;
const EIAM: u32 = 0x0114;
const IVAR: u32 = 0x0120;
const IVAR_MISC: u32 = 0x0140;
const BUFFER: u32 = 0x0200;
const MAILBOX: u32 = 0x02FC;
const EITR: u32 = 0x0820;
const RX_QUEUES: u32 = 0x1000;
const TX_QUEUES: u32 = 0x2000;
/// Of the registers of queues, of which a function has up to eight.
const QUEUES_SIZE: u32 = 8 * reg::QUEUE_STRIDE;

// In the mailbox' register (8.3.5.1.6).
const REQUEST: u32 = 1 << 0;
const OURS: u32 = 1 << 2;
const MESSAGE: u32 = 1 << 4;
const READ: u32 = 1 << 5;

/// Words of the mailbox' buffer.
const WORDS: usize = 16;

// In the first word of a message.
const GRANTED: u32 = 1 << 31;
const REFUSED: u32 = 1 << 30;
const CLEAR_TO_SEND: u32 = 1 << 29;
const INFORMATION_SHIFT: u32 = 16;

// What a message asks for, in its low half.
const RESET: u32 = 0x01;
const SET_ADDRESS: u32 = 0x02;
const SET_GROUPS: u32 = 0x03;
const SET_VLAN: u32 = 0x04;
const SET_LONGEST: u32 = 0x05;
const NEGOTIATE: u32 = 0x08;
const GET_QUEUES: u32 = 0x09;
const SET_CAST: u32 = 0x0C;
/// What the host says of its own accord: the link may be another.
const PING: u32 = 0x100;

/// Versions of messages, by Linux' numbers: 1.0, 1.1, 1.2 and 1.3.
const VERSIONS: [u32; 4] = [0, 2, 3, 4];
/// Of [`SET_CAST`], by which it has every group.
const EVERY_GROUP: u32 = 2;
/// Longest frame with its check sequence that the host lets through (IXGBE_MAX_JUMBO_FRAME_SIZE).
const LONGEST: u32 = 9728;

/// What a function has that the device has not.
#[derive(Default)]
pub(crate) struct Function {
    control: u32,
    buffer: [u32; WORDS],
    /// The entry that the mailbox uses, as the register has it.
    entry: u32,
    /// The host does what it asks for.
    is_known: bool,
}

/// The device that it is of.
pub(crate) trait Physical {
    /// Reads a register of the whole device.
    fn read(&mut self, offset: u32) -> u32;
    /// Writes one.
    fn write(&mut self, offset: u32, value: u32);
    /// Resets it.
    fn reset(&mut self);
    /// Its address, which the host gives to the function.
    fn mac(&self) -> [u8; 6];
}

impl Function {
    /// Reads a register of its own.
    pub(crate) fn read(&mut self, device: &mut impl Physical, offset: u32) -> u32 {
        match offset {
            STATUS => device.read(reg::STATUS),
            LINKS => device.read(reg::LINKS),
            EICR => device.read(reg::EICR) & CAUSES,
            EICS => device.read(reg::EICS) & CAUSES,
            EIMS | EIMC => device.read(reg::EIMS) & CAUSES,
            IVAR_MISC => self.entry,
            MAILBOX => {
                let control = self.control;
                self.control &= !(MESSAGE | READ);
                control
            }
            BUFFER..0x0240 => self.buffer[((offset - BUFFER) / 4) as usize],
            _ => translate(offset).map_or(0, |offset| device.read(offset)),
        }
    }

    /// Writes a register of its own.
    pub(crate) fn write(&mut self, device: &mut impl Physical, offset: u32, value: u32) {
        match offset {
            CTRL if value & reg::CTRL_RST != 0 => {
                *self = Self::default();
                device.reset();
            }
            EICR => device.write(reg::EICR, value & CAUSES),
            EICS => device.write(reg::EICS, value & CAUSES),
            EIMS => device.write(reg::EIMS, value & CAUSES),
            EIMC => device.write(reg::EIMC, value & CAUSES),
            EIAC => device.write(reg::EIAC, value & CAUSES),
            EIAM => device.write(reg::EIAM, value & CAUSES),
            IVAR_MISC => self.entry = value,
            MAILBOX => {
                self.control = self.control & !OURS | value & OURS;
                if value & REQUEST != 0 {
                    self.answer(device);
                }
            }
            BUFFER..0x0240 => self.buffer[((offset - BUFFER) / 4) as usize] = value,
            _ => {
                if let Some(offset) = translate(offset) {
                    device.write(offset, value);
                }
            }
        }
    }

    /// The host says that the link may be another.
    pub(crate) fn ping(&mut self, device: &mut impl Physical) {
        let clear = if self.is_known { CLEAR_TO_SEND } else { 0 };
        // Between a request and its answer there is no room for another message.
        if self.control & (OURS | MESSAGE) == 0 {
            self.tell(device, &[PING | clear]);
        }
    }

    fn tell(&mut self, device: &mut impl Physical, words: &[u32]) {
        self.buffer[..words.len()].copy_from_slice(words);
        self.control |= MESSAGE;
        let entry = self.entry;
        if entry & reg::IVAR_VALID != 0 {
            device.write(reg::EICS, 1 << (entry & 0b11) & CAUSES);
        }
    }

    /// The host reads a message, and answers.
    fn answer(&mut self, device: &mut impl Physical) {
        self.control |= READ;
        let message = self.buffer;
        let [a, b, c, d, e, f] = device.mac();
        let address = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0])];
        let kind = message[0] & 0xFFFF;
        if kind == RESET {
            self.know(device);
            let [low, high] = address;
            // The last word: bits 47 to 36 of an address choose its bit in the table of groups.
            return self.tell(device, &[RESET | GRANTED, low, high, 0]);
        }
        if !self.is_known {
            return self.tell(device, &[kind | REFUSED]);
        }
        let answer = match kind {
            // The host gave it one, and insists.
            SET_ADDRESS => (message[1..3] == address).then_some([0; 4]),
            SET_GROUPS => {
                set_groups(device, &message);
                Some([0; 4])
            }
            SET_VLAN => {
                let vlan = message[1] & 0xFFF;
                let (word, bit) = (reg::VFTA + vlan / 32 * 4, 1 << (vlan % 32));
                let others = device.read(word) & !bit;
                let is_added = message[0] >> INFORMATION_SHIFT & 0xFF != 0;
                device.write(word, others | if is_added { bit } else { 0 });
                Some([0; 4])
            }
            SET_LONGEST if message[1] <= LONGEST => {
                device.write(reg::MAXFRS, message[1] << 16);
                Some([0; 4])
            }
            NEGOTIATE if VERSIONS.contains(&message[1]) => Some([message[1], 0, 0, 0]),
            // One in each direction, no VLAN of the host's, the first by default.
            GET_QUEUES => Some([1, 1, 0, 0]),
            SET_CAST if message[1] <= EVERY_GROUP => {
                let every = message[1] == EVERY_GROUP;
                let every = if every { reg::FCTRL_MULTICAST_PROMISCUOUS } else { 0 };
                device.write(reg::FCTRL, reg::FCTRL_BROADCAST | every);
                Some([message[1], 0, 0, 0])
            }
            _ => None,
        };
        match answer {
            Some([a, b, c, d]) => self.tell(device, &[kind | GRANTED | CLEAR_TO_SEND, a, b, c, d]),
            None => self.tell(device, &[kind | REFUSED | CLEAR_TO_SEND]),
        }
    }

    /// What the host's driver has done to the device before it grants anything.
    fn know(&mut self, device: &mut impl Physical) {
        for (offset, value) in [
            (reg::GPIE, reg::GPIE_MULTIPLE_MSIX | reg::GPIE_EIAME),
            (reg::FCTRL, reg::FCTRL_BROADCAST),
            (reg::MCSTCTRL, reg::MCSTCTRL_FILTER),
            (reg::VLNCTRL, reg::VLNCTRL_FILTER | 0x8100),
            (reg::RXCSUM, reg::RXCSUM_PACKET_CHECKSUM_DISABLED),
            (reg::HLREG0, 1 | reg::HLREG0_CRC_STRIP | reg::HLREG0_PAD | reg::HLREG0_JUMBO),
            (reg::MAXFRS, 1518 << 16),
            (reg::RXCTRL, reg::RXCTRL_ENABLE),
            (reg::DMATXCTL, 0x8100_0000 | reg::DMATXCTL_ENABLE),
        ] {
            device.write(offset, value);
        }
        self.is_known = true;
    }
}

fn set_groups(device: &mut impl Physical, message: &[u32; WORDS]) {
    for word in 0..128 {
        device.write(reg::MTA + 4 * word, 0);
    }
    let count = (message[0] >> INFORMATION_SHIFT & 0xFF).min(2 * (WORDS as u32 - 1));
    for index in 0..count as usize {
        let hash = message[1 + index / 2] >> (16 * (index % 2)) & 0xFFF;
        let word = reg::MTA + hash / 32 * 4;
        let others = device.read(word);
        device.write(word, others | 1 << (hash % 32));
    }
}

/// Where the device has a register of the function's own queues and interrupts.
fn translate(offset: u32) -> Option<u32> {
    match offset {
        IVAR => Some(reg::IVAR),
        EITR..0x082C => Some(reg::EITR_LOW + (offset - EITR)),
        _ if (RX_QUEUES..RX_QUEUES + QUEUES_SIZE).contains(&offset) => {
            Some(reg::RX_QUEUES_LOW + (offset - RX_QUEUES))
        }
        _ if (TX_QUEUES..TX_QUEUES + QUEUES_SIZE).contains(&offset) => {
            Some(reg::TX_QUEUES + (offset - TX_QUEUES))
        }
        _ => None,
    }
}
