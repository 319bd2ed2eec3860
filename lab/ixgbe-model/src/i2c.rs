//! The SFP+ cage: an EEPROM with the module's identification, on an I2C bus whose two wires the
//! driver sets through I2CCTL (8.2.3.1).

/// Clock as it is on the wire.
const CLOCK_IN: u32 = 1 << 0;
/// Clock as the driver drives it; open drain.
const CLOCK_OUT: u32 = 1 << 1;
/// Data as it is on the wire.
const DATA_IN: u32 = 1 << 2;
/// Data as the driver drives it; open drain.
const DATA_OUT: u32 = 1 << 3;
/// The bus address of a module's identification (SFF-8472, 4).
const ADDRESS: u8 = 0xA0;

/// What the module is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Takes in a byte: the device's address, the offset, or data that is ignored.
    Receiving(Byte),
    /// A byte was taken, and is being acknowledged. True: the module sends next.
    Acknowledging(Byte, bool),
    /// Sends a byte.
    Sending,
    /// A byte was sent; the driver says whether it wants another.
    Acknowledged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Address,
    Offset,
    Data,
}

/// The bus with one module on it.
pub(crate) struct Cage {
    identification: [u8; 256],
    state: State,
    clock: bool,
    data: bool,
    /// Whether the module releases the data wire; if not, it pulls it low.
    release: bool,
    bits: u8,
    shift: u8,
    offset: u8,
}

impl Cage {
    /// A cage with a passive direct attach cable: the one module that needs no tuning and no laser.
    pub(crate) fn new() -> Self {
        let mut identification = [0; 256];
        // SFF-8472, table 4-1.
        identification[0] = 0x03; // SFP or SFP+
        identification[1] = 0x04; // known by this identification
        identification[2] = 0x21; // copper pigtail
        identification[8] = 0x04; // passive cable
        identification[12] = 103; // 10.3 Gbit/s
        identification[18] = 1; // a metre
        identification[20..36].copy_from_slice(b"Godwit          ");
        identification[40..56].copy_from_slice(b"vfio-user       ");
        identification[63] = sum(&identification[..63]);
        identification[95] = sum(&identification[64..95]);
        Self {
            identification,
            state: State::Idle,
            clock: true,
            data: true,
            release: true,
            bits: 0,
            shift: 0,
            offset: 0,
        }
    }

    /// What I2CCTL reads.
    pub(crate) fn read(&self) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        bit(self.clock, CLOCK_IN | CLOCK_OUT)
            | bit(self.data, DATA_OUT)
            | bit(self.data && self.release, DATA_IN)
    }

    /// The driver sets the wires.
    pub(crate) fn write(&mut self, value: u32) {
        let (clock, data) = (value & CLOCK_OUT != 0, value & DATA_OUT != 0);
        let was = (self.clock, self.data);
        (self.clock, self.data) = (clock, data);
        match (was, (clock, data)) {
            // Start and stop: the data wire changes while the clock is high.
            ((true, true), (true, false)) => self.receive(Byte::Address),
            ((true, false), (true, true)) => self.idle(),
            ((false, _), (true, _)) => self.rise(),
            ((true, _), (false, _)) => self.fall(),
            _ => {}
        }
    }

    fn idle(&mut self) {
        self.state = State::Idle;
        self.release = true;
    }

    fn receive(&mut self, byte: Byte) {
        self.state = State::Receiving(byte);
        self.release = true;
        self.bits = 0;
    }

    /// The clock goes high: the wire is sampled.
    fn rise(&mut self) {
        match self.state {
            State::Receiving(_) => {
                self.shift = self.shift << 1 | u8::from(self.data);
                self.bits += 1;
            }
            // Not acknowledged: the driver wants no more.
            State::Acknowledged if self.data => self.idle(),
            _ => {}
        }
    }

    /// The clock goes low: the wire may change.
    fn fall(&mut self) {
        match self.state {
            State::Receiving(byte) if self.bits == 8 => match byte {
                Byte::Address if self.shift & !1 != ADDRESS => self.idle(),
                _ => {
                    let send = byte == Byte::Address && self.shift & 1 != 0;
                    if byte == Byte::Offset {
                        self.offset = self.shift;
                    }
                    self.state = State::Acknowledging(byte, send);
                    self.release = false;
                }
            },
            State::Acknowledging(_, true) | State::Acknowledged => {
                self.state = State::Sending;
                self.bits = 0;
                self.put();
            }
            State::Acknowledging(Byte::Address, false) => self.receive(Byte::Offset),
            State::Acknowledging(_, false) => self.receive(Byte::Data),
            State::Sending => self.put(),
            _ => {}
        }
    }

    /// Puts the next bit on the wire, the highest first.
    fn put(&mut self) {
        if self.bits == 8 {
            self.offset = self.offset.wrapping_add(1);
            self.state = State::Acknowledged;
            self.release = true;
            return;
        }
        let byte = self.identification[self.offset as usize];
        self.release = byte & (0x80 >> self.bits) != 0;
        self.bits += 1;
    }
}

/// A check code of SFF-8472: the low byte of the sum.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that sets the wires.
    struct Driver(Cage);

    impl Driver {
        fn wires(&mut self, clock: bool, data: bool) {
            let value = if clock { CLOCK_OUT } else { 0 } | if data { DATA_OUT } else { 0 };
            self.0.write(value);
        }

        fn start(&mut self) {
            self.wires(false, true);
            self.wires(true, true);
            self.wires(true, false);
            self.wires(false, false);
        }

        fn stop(&mut self) {
            self.wires(false, false);
            self.wires(true, false);
            self.wires(true, true);
        }

        /// Returns what is on the wire while the clock is high.
        fn bit(&mut self, data: bool) -> bool {
            self.wires(false, data);
            self.wires(true, data);
            let seen = self.0.read() & DATA_IN != 0;
            self.wires(false, data);
            seen
        }

        /// Sends a byte, and returns whether it was acknowledged.
        fn put(&mut self, byte: u8) -> bool {
            for bit in (0..8).rev() {
                self.bit(byte >> bit & 1 != 0);
            }
            !self.bit(true)
        }

        fn take(&mut self, more: bool) -> u8 {
            let byte = (0..8).fold(0, |byte, _| byte << 1 | u8::from(self.bit(true)));
            self.bit(!more);
            byte
        }
    }

    #[test]
    fn a_driver_reads_what_the_module_is() {
        let mut driver = Driver(Cage::new());
        for (offset, expected) in [(0, 0x03), (8, 0x04), (20, b'G')] {
            driver.start();
            assert!(driver.put(ADDRESS));
            assert!(driver.put(offset));
            driver.start();
            assert!(driver.put(ADDRESS | 1));
            assert_eq!(driver.take(false), expected, "offset {offset}");
            driver.stop();
        }
    }

    #[test]
    fn bytes_follow_one_another() {
        let mut driver = Driver(Cage::new());
        driver.start();
        assert!(driver.put(ADDRESS) && driver.put(20));
        driver.start();
        assert!(driver.put(ADDRESS | 1));
        let name: Vec<u8> = (0..6).map(|index| driver.take(index < 5)).collect();
        assert_eq!(name, b"Godwit");
        driver.stop();
    }

    #[test]
    fn nobody_answers_at_another_address() {
        let mut driver = Driver(Cage::new());
        driver.start();
        assert!(!driver.put(0xB0));
        driver.stop();
    }
}
