//! Interrupt causes, masks, moderation and messages (datasheet 7.3 and 8.2.3.5).

use std::{
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

use crate::{register_file::Registers, registers as reg};

/// How many vectors the MSI-X table has (9.3), and how many bits the extended registers.
pub(crate) const VECTORS: usize = 64;
/// The causes in EICR that are not a queue's: bits 16 to 30.
const OTHER: u32 = 0x7FFF_0000;
/// Unit of EITR.ITR_INTERVAL at 10 Gbit/s (8.2.3.5).
const INTERVAL_UNIT: Duration = Duration::from_micros(2);

/// A set of causes: a bit for each vector that queues may use, and those of EICR's upper half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Causes {
    queues: u64,
    other: u32,
}

impl Causes {
    /// Decodes EICR, EICS, EIMS or EIMC: the first 16 vectors, and the other causes.
    fn from_register(value: u32) -> Self {
        Self { queues: u64::from(value & 0xFFFF), other: value & OTHER }
    }

    /// Decodes number `index` of an extended register, which has 32 of the 64 vectors.
    fn from_extended(index: u32, value: u32) -> Self {
        Self { queues: u64::from(value) << (32 * index), other: 0 }
    }

    fn to_register(self) -> u32 {
        self.queues as u32 & 0xFFFF | self.other
    }

    fn set(&mut self, causes: Self) {
        self.queues |= causes.queues;
        self.other |= causes.other;
    }

    fn clear(&mut self, causes: Self) {
        self.queues &= !causes.queues;
        self.other &= !causes.other;
    }

    fn and(self, causes: Self) -> Self {
        Self { queues: self.queues & causes.queues, other: self.other & causes.other }
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// How interrupts reach the guest: by event files, which the client sent (vfio-user,
/// `VFIO_USER_DEVICE_SET_IRQS`).
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) intx: Option<File>,
    pub(crate) msi: Option<File>,
    pub(crate) msix: Vec<Option<File>>,
}

/// The interrupt block.
pub(crate) struct Interrupts {
    pending: Causes,
    mask: Causes,
    auto_mask: Causes,
    /// The pending, unmasked causes that a message was already sent for.
    told: Causes,
    /// When each vector's interval is over.
    not_before: [Option<Instant>; VECTORS],
    pub(crate) lines: Lines,
    /// Messages sent.
    pub(crate) sent: u64,
}

impl Interrupts {
    pub(crate) fn new() -> Self {
        Self {
            pending: Causes::default(),
            mask: Causes::default(),
            auto_mask: Causes::default(),
            told: Causes::default(),
            not_before: [None; VECTORS],
            lines: Lines::default(),
            sent: 0,
        }
    }

    /// A device reset. The lines belong to PCI, and stay.
    pub(crate) fn reset(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        *self = Self { lines, sent: self.sent, ..Self::new() };
    }

    /// Something happened on a queue: the cause that IVAR assigns to it is pending (8.2.3.5).
    pub(crate) fn queue(&mut self, registers: &Registers, queue: usize, transmit: bool) {
        let word = registers.get(reg::IVAR + 4 * (queue as u32 / 2));
        let entry = word >> (16 * (queue as u32 % 2) + if transmit { 8 } else { 0 });
        if entry & reg::IVAR_VALID != 0 {
            self.pending.queues |= 1 << (entry & 0x3F);
        }
    }

    /// Causes of EICR's upper half are pending.
    pub(crate) fn other(&mut self, causes: u32) {
        self.pending.other |= causes & OTHER;
    }

    /// Sends a message nobody asked for.
    pub(crate) fn spurious(&mut self, vector: usize) {
        let file = self.lines.msix.get_mut(vector).and_then(Option::as_mut);
        let file = file.or(self.lines.msi.as_mut()).or(self.lines.intx.as_mut());
        self.sent += u64::from(tell(file));
    }

    /// Reads a register, if it belongs to this block.
    pub(crate) fn read(&mut self, registers: &Registers, offset: u32) -> Option<u32> {
        Some(match offset {
            reg::EICR => self.read_causes(registers),
            // EICS reads as EICR without clearing it: Linux' driver relies on that.
            reg::EICS => self.pending.to_register(),
            reg::EIMS | reg::EIMC => self.mask.to_register(),
            reg::EIAM => self.auto_mask.to_register(),
            _ => match extended(offset)? {
                (reg::EICS_EX, index) => (self.pending.queues >> (32 * index)) as u32,
                (reg::EIAM_EX, index) => (self.auto_mask.queues >> (32 * index)) as u32,
                (_, index) => (self.mask.queues >> (32 * index)) as u32,
            },
        })
    }

    /// Writes a register, if it belongs to this block. Returns whether it does.
    pub(crate) fn write(&mut self, offset: u32, value: u32) -> bool {
        let causes = Causes::from_register(value);
        match offset {
            reg::EICR => self.settled(causes),
            reg::EICS => self.pending.set(causes),
            reg::EIMS => self.mask.set(causes),
            reg::EIMC => self.masked(causes),
            reg::EIAM => {
                self.auto_mask.clear(Causes::from_register(u32::MAX));
                self.auto_mask.set(causes);
            }
            _ => {
                let Some((base, index)) = extended(offset) else { return false };
                let causes = Causes::from_extended(index, value);
                match base {
                    reg::EICS_EX => self.pending.set(causes),
                    reg::EIMS_EX => self.mask.set(causes),
                    reg::EIMC_EX => self.masked(causes),
                    _ => {
                        self.auto_mask.clear(Causes::from_extended(index, u32::MAX));
                        self.auto_mask.set(causes);
                    }
                }
            }
        }
        true
    }

    /// Reading EICR clears it (7.3.1), except for the queues' bits if GPIE says so.
    fn read_causes(&mut self, registers: &Registers) -> u32 {
        let causes = self.pending;
        let keep = registers.get(reg::GPIE) & reg::GPIE_OTHER_CLEAR_DISABLE != 0;
        let queues = if keep { 0 } else { 0xFFFF };
        self.settled(Causes { queues, other: OTHER });
        if registers.get(reg::GPIE) & reg::GPIE_EIAME == 0 {
            self.masked(self.auto_mask.and(causes));
        }
        causes.to_register()
    }

    /// Causes are no longer pending. When they come again, so does a message.
    fn settled(&mut self, causes: Causes) {
        self.pending.clear(causes);
        self.told.clear(causes);
    }

    /// Causes are masked. If they are pending when they are unmasked, there is a message again.
    fn masked(&mut self, causes: Causes) {
        self.mask.clear(causes);
        self.told.clear(causes);
    }

    /// Sends the messages that are due. Those of vectors whose intervals are not over have to wait:
    /// returns when the first of them is due.
    pub(crate) fn run(&mut self, registers: &Registers, now: Instant) -> Option<Instant> {
        let mut open = self.pending.and(self.mask);
        open.clear(self.told);
        if open.is_empty() {
            return None;
        }
        if registers.get(reg::GPIE) & reg::GPIE_MULTIPLE_MSIX == 0 {
            return self.run_single(registers, open, now);
        }
        let mut next = None;
        let mut queues = open.queues;
        while queues != 0 {
            let vector = queues.trailing_zeros();
            queues &= queues - 1;
            let cause = Causes { queues: 1 << vector, other: 0 };
            self.send(registers, vector as usize, cause, now, &mut next);
        }
        if open.other != 0 {
            let entry = registers.get(reg::IVAR_MISC) >> 8;
            if entry & reg::IVAR_VALID != 0 {
                let cause = Causes { queues: 0, other: open.other };
                self.send(registers, (entry & 0x3F) as usize, cause, now, &mut next);
            }
        }
        next
    }

    /// Sends an MSI-X message, or notes in `next` when its vector's interval is over.
    fn send(
        &mut self,
        registers: &Registers,
        vector: usize,
        cause: Causes,
        now: Instant,
        next: &mut Option<Instant>,
    ) {
        if let Some(time) = self.wait(vector, now) {
            *next = Some(next.map_or(time, |next| next.min(time)));
            return;
        }
        self.sent += u64::from(tell(self.lines.msix.get_mut(vector).and_then(Option::as_mut)));
        self.not_before[vector] = interval(registers, vector).map(|interval| now + interval);
        self.told.set(cause);
        // EIAC has bits for the first 16 vectors. The others are always cleared: they have no bits
        // in EICR by which a driver could do it.
        let clear = u64::from(registers.get(reg::EIAC) & 0xFFFF) | !0xFFFF;
        self.settled(Causes { queues: cause.queues & clear, other: 0 });
        if registers.get(reg::GPIE) & reg::GPIE_EIAME != 0 {
            self.masked(self.auto_mask.and(cause));
        }
    }

    /// Sends one interrupt for everything (7.3.1): by MSI-X vector 0, MSI, or the INTx line.
    fn run_single(&mut self, registers: &Registers, open: Causes, now: Instant) -> Option<Instant> {
        if let Some(time) = self.wait(0, now) {
            return Some(time);
        }
        let msix = self.lines.msix.first_mut().and_then(Option::as_mut);
        let line = msix.or(self.lines.msi.as_mut()).or(self.lines.intx.as_mut());
        self.sent += u64::from(tell(line));
        self.not_before[0] = interval(registers, 0).map(|interval| now + interval);
        self.told.set(open);
        if registers.get(reg::GPIE) & reg::GPIE_EIAME != 0 {
            self.masked(self.auto_mask.and(open));
        }
        None
    }

    /// The INTx line was unmasked: an interrupt that is still pending is sent again.
    pub(crate) fn retell(&mut self) {
        self.told = Causes::default();
    }

    fn wait(&self, vector: usize, now: Instant) -> Option<Instant> {
        self.not_before[vector].filter(|&time| time > now)
    }
}

/// Base and index of an extended register.
fn extended(offset: u32) -> Option<(u32, u32)> {
    [reg::EICS_EX, reg::EIMS_EX, reg::EIMC_EX, reg::EIAM_EX].into_iter().find_map(|base| {
        match offset.checked_sub(base)? {
            0 => Some((base, 0)),
            4 => Some((base, 1)),
            _ => None,
        }
    })
}

/// The interval between a vector's messages, if EITR sets one.
fn interval(registers: &Registers, vector: usize) -> Option<Duration> {
    let vector = vector as u32;
    let offset =
        if vector < 24 { reg::EITR_LOW + 4 * vector } else { reg::EITR_HIGH + 4 * (vector - 24) };
    let units = registers.get(offset) >> 3 & 0x1FF;
    (units > 0).then(|| INTERVAL_UNIT * units)
}

/// Signals an event file. That fails if the client is gone, which is noticed elsewhere.
fn tell(file: Option<&mut File>) -> bool {
    file.is_some_and(|file| file.write_all(&1u64.to_ne_bytes()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// The block, and a vector whose messages are counted.
    struct Bench {
        registers: Registers,
        interrupts: Interrupts,
        event: File,
        now: Instant,
    }

    impl Bench {
        /// Multiple MSI-X, with the reception of queue 3 on vector 5, and nothing masked.
        fn new() -> Self {
            let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
            let event = File::from(event);
            let mut interrupts = Interrupts::new();
            interrupts.lines.msix = (0..VECTORS).map(|_| None).collect();
            interrupts.lines.msix[5] = Some(event.try_clone().unwrap());
            let mut registers = Registers::new();
            registers.set(reg::GPIE, reg::GPIE_MULTIPLE_MSIX);
            registers.set(reg::IVAR + 4, (reg::IVAR_VALID | 5) << 16);
            interrupts.write(reg::EIMS_EX, u32::MAX);
            Self { registers, interrupts, event, now: Instant::now() }
        }

        fn queue(&mut self) {
            self.interrupts.queue(&self.registers, 3, false);
        }

        fn run(&mut self) -> Option<Instant> {
            self.interrupts.run(&self.registers, self.now)
        }

        fn messages(&mut self) -> u64 {
            let mut count = [0; 8];
            self.event.read_exact(&mut count).map_or(0, |()| u64::from_ne_bytes(count))
        }
    }

    #[test]
    fn a_message_once_until_the_cause_is_cleared() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.queue();
            assert_eq!(bench.run(), None);
        }
        assert_eq!(bench.messages(), 1);
        bench.interrupts.write(reg::EICR, 1 << 5);
        bench.queue();
        bench.run();
        assert_eq!(bench.messages(), 1);
    }

    #[test]
    fn auto_clear_and_auto_mask() {
        let mut bench = Bench::new();
        bench.registers.set(reg::EIAC, 0xFFFF);
        bench.registers.set(reg::GPIE, reg::GPIE_MULTIPLE_MSIX | reg::GPIE_EIAME);
        bench.interrupts.write(reg::EIAM_EX, 1 << 5);
        bench.queue();
        bench.run();
        bench.queue();
        bench.run();
        assert_eq!(bench.messages(), 1, "masked by itself");
        assert_eq!(bench.interrupts.read(&bench.registers, reg::EIMS_EX), Some(!(1 << 5)));
        bench.interrupts.write(reg::EIMS_EX, 1 << 5);
        bench.run();
        assert_eq!(bench.messages(), 1, "what came meanwhile");
        bench.interrupts.write(reg::EIMS_EX, 1 << 5);
        bench.run();
        assert_eq!(bench.messages(), 0, "nothing came meanwhile");
    }

    #[test]
    fn masked_causes_wait() {
        let mut bench = Bench::new();
        bench.interrupts.write(reg::EIMC, 1 << 5);
        bench.queue();
        bench.run();
        assert_eq!(bench.messages(), 0);
        bench.interrupts.write(reg::EIMS, 1 << 5);
        bench.run();
        assert_eq!(bench.messages(), 1);
    }

    #[test]
    fn messages_keep_their_distance() {
        let mut bench = Bench::new();
        bench.registers.set(reg::EIAC, 0xFFFF);
        bench.registers.set(reg::EITR_LOW + 4 * 5, 25 << 3);
        bench.queue();
        assert_eq!(bench.run(), None);
        bench.queue();
        let due = bench.now + Duration::from_micros(50);
        assert_eq!(bench.run(), Some(due));
        assert_eq!(bench.messages(), 1);
        bench.now = due;
        assert_eq!(bench.run(), None);
        assert_eq!(bench.messages(), 1);
    }

    #[test]
    fn other_causes_have_their_own_vector_and_clear_by_reading() {
        let mut bench = Bench::new();
        bench.registers.set(reg::IVAR_MISC, (reg::IVAR_VALID | 5) << 8);
        bench.interrupts.other(reg::CAUSE_LSC);
        bench.run();
        assert_eq!(bench.messages(), 0, "masked");
        bench.interrupts.write(reg::EIMS, reg::CAUSE_LSC);
        bench.run();
        assert_eq!(bench.messages(), 1);
        assert_eq!(bench.interrupts.read(&bench.registers, reg::EICS), Some(reg::CAUSE_LSC));
        assert_eq!(bench.interrupts.read(&bench.registers, reg::EICR), Some(reg::CAUSE_LSC));
        assert_eq!(bench.interrupts.read(&bench.registers, reg::EICR), Some(0));
    }
}
