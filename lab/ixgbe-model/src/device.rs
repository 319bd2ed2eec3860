//! The device: its registers, and what reading and writing them does (datasheet 8.2.3).

use std::{os::unix::net::UnixStream, time::Instant};

use crate::{
    eeprom,
    function::{Function, Physical},
    host::Host,
    i2c::Cage,
    link,
    plan::Plan,
    port::Port,
    receive::Receive,
    registers as reg, statistics,
    transmit::Transmit,
};

/// An 82599 with one port: its units, and what is too small to be one.
pub(crate) struct Device {
    pub(crate) host: Host,
    pub(crate) port: Port,
    pub(crate) receive: Receive,
    pub(crate) transmit: Transmit,
    pub(crate) resets: u64,
    /// It is a virtual function, and the host has the rest of it.
    pub(crate) function: Option<Function>,
    mac: [u8; 6],
    eeprom: Vec<u16>,
    cage: Cage,
}

impl Device {
    pub(crate) fn new(mac: [u8; 6]) -> Self {
        let mut device = Self {
            host: Host::new(),
            port: Port::default(),
            receive: Receive::default(),
            transmit: Transmit::new(),
            resets: 0,
            function: None,
            mac,
            eeprom: eeprom::contents(mac),
            cage: Cage::new(),
        };
        device.reset();
        device
    }

    /// A virtual function of one, with the host that has the rest.
    pub(crate) fn of_function(mac: [u8; 6]) -> Self {
        Self { function: Some(Function::default()), ..Self::new(mac) }
    }

    /// Device reset (4.2.1): queues stop, registers get their defaults, the EEPROM is loaded. The
    /// link stays.
    pub(crate) fn reset(&mut self) {
        self.resets += 1;
        self.host.reset();
        self.receive.reset();
        self.transmit = Transmit::new();
        if self.function.is_some() {
            self.function = Some(Function::default());
        }
        let registers = &mut self.host.registers;
        let size = eeprom::SIZE << reg::EEC_SIZE_SHIFT;
        let eec = reg::EEC_PRESENT | reg::EEC_AUTO_READ_DONE | reg::EEC_ADDRESS_16_BITS | size;
        let low = u32::from_le_bytes([self.mac[0], self.mac[1], self.mac[2], self.mac[3]]);
        let high = u32::from(u16::from_le_bytes([self.mac[4], self.mac[5]]));
        for (offset, value) in [
            (reg::EEC, eec),
            (reg::RAL0, low),
            (reg::RAL0 + 4, reg::RAH_VALID | high),
            (reg::AUTOC, link::AUTOC_DEFAULT),
            (reg::AUTOC2, link::AUTOC2_DEFAULT),
            (reg::RDRXCTL, reg::RDRXCTL_DMA_INIT_DONE),
            // There is firmware, but it manages nothing.
            (reg::FWSM, reg::FWSM_VALID),
            // 512 KiB and 160 KiB, one buffer each (8.2.3.8 and 8.2.3.9).
            (reg::RXPBSIZE0, 512 << 10),
            (reg::TXPBSIZE0, 160 << 10),
            (reg::SECRXSTAT, reg::SEC_READY),
            (reg::SECTXSTAT, reg::SEC_READY),
            // TCP flags in segments (8.2.3.9).
            (reg::DTXTCPFLGL, 0x0FF6_0FF6),
            (reg::DTXTCPFLGH, 0x0000_0F7F),
            // Bits 31:16: the tag's type.
            (reg::DMATXCTL, 0x8100_0000),
            (reg::VLNCTRL, 0x8100),
            // 1518 bytes in bits 31:16 (8.2.3.22).
            (reg::MAXFRS, 1518 << 16),
            // Check sequence added, stripped; short frames padded (8.2.3.22).
            (reg::HLREG0, 1 | reg::HLREG0_CRC_STRIP | reg::HLREG0_PAD),
        ] {
            registers.set(offset, value);
        }
    }

    /// Reads a register.
    pub(crate) fn read(&mut self, offset: u32) -> u32 {
        if self.host.dead {
            return u32::MAX;
        }
        // Taken out for the moment in which it uses the rest.
        let Some(mut function) = self.function.take() else { return self.read_physical(offset) };
        let value = function.read(self, offset);
        self.function = Some(function);
        value
    }

    /// The same of the whole device.
    pub(crate) fn read_physical(&mut self, offset: u32) -> u32 {
        let offset = reg::canonical(offset);
        if let Some(value) = self.host.interrupts.read(&self.host.registers, offset) {
            return value;
        }
        let value = self.host.registers.get(offset);
        match offset {
            reg::STATUS => self.status(),
            reg::ESDP => value | reg::ESDP_SDP2,
            reg::I2CCTL => self.cage.read(),
            reg::LINKS => self.port.link.links(),
            reg::ANLP1 => self.port.link.negotiation(),
            // Whoever reads the semaphore as free has taken it (8.2.3.4).
            reg::SWSM => {
                self.host.registers.set(offset, value | reg::SWSM_SMBI);
                value
            }
            _ => {
                if statistics::clears_on_read(offset) {
                    self.host.registers.set(offset, 0);
                }
                value
            }
        }
    }

    fn status(&self) -> u32 {
        let disabled = self.host.is_master_disabled();
        let master = if disabled { 0 } else { reg::STATUS_PCIE_MASTER_ENABLED };
        master | if self.port.link.is_up() { reg::STATUS_LINK_UP } else { 0 }
    }

    /// Writes a register.
    pub(crate) fn write(&mut self, offset: u32, value: u32) {
        if self.host.dead {
            return;
        }
        let Some(mut function) = self.function.take() else {
            return self.write_physical(offset, value);
        };
        function.write(self, offset, value);
        self.function = Some(function);
    }

    /// The same of the whole device.
    pub(crate) fn write_physical(&mut self, offset: u32, value: u32) {
        let offset = reg::canonical(offset);
        if self.host.interrupts.write(offset, value) {
            return;
        }
        let before = self.host.registers.get(offset);
        let stored = match offset {
            reg::STATUS | reg::FWSM | reg::LINKS | reg::ANLP1 | reg::SECRXSTAT | reg::SECTXSTAT => {
                before
            }
            reg::CTRL if value & (reg::CTRL_RST | reg::CTRL_LRST) != 0 => {
                self.reset();
                self.host.registers.get(offset)
            }
            reg::EERD if value & reg::EERD_START != 0 => {
                let address = (value >> 2 & 0x3FFF) as usize;
                let word = self.eeprom.get(address).copied().unwrap_or(0xFFFF);
                u32::from(word) << 16 | value & 0xFFFC | reg::EERD_DONE
            }
            reg::EEC => {
                let granted = if value & reg::EEC_REQUEST != 0 { reg::EEC_GRANT } else { 0 };
                before & !(reg::EEC_REQUEST | reg::EEC_GRANT) | value & reg::EEC_REQUEST | granted
            }
            reg::I2CCTL => {
                self.cage.write(value);
                value
            }
            reg::AUTOC => {
                self.port.link.configure(value);
                value & !reg::AUTOC_RESTART
            }
            reg::RDRXCTL => value | reg::RDRXCTL_DMA_INIT_DONE,
            // No PHY answers on the management bus: it reads all ones, at once (8.2.3.22).
            reg::MSCA => {
                self.host.registers.set(reg::MSRWD, 0xFFFF_0000);
                value & !reg::MSCA_COMMAND
            }
            // The flow director accepts commands but has no filters: nothing ever matches.
            reg::FDIRCTRL => value | reg::FDIRCTRL_INIT_DONE,
            reg::FDIRCMD => value & !reg::FDIRCMD_COMMAND,
            _ => value,
        };
        self.host.registers.set(offset, stored);
        self.after_write(offset, before, stored);
    }

    /// Acts on doorbells, and on queues that start and stop.
    fn after_write(&mut self, offset: u32, before: u32, value: u32) {
        if let Some(register) = reg::rx_queue(offset) {
            match register.register {
                reg::TAIL => self.receive.refilled(&mut self.host),
                reg::DCTL if !before & value & reg::DCTL_ENABLE != 0 => {
                    self.receive.check(&self.host.registers, register.queue);
                }
                _ => {}
            }
        } else if let Some(register) = reg::tx_queue(offset) {
            match register.register {
                reg::TAIL => self.send(register.queue),
                reg::DCTL if value & reg::DCTL_ENABLE == 0 => self.transmit.stop(register.queue),
                reg::DCTL => self.send(register.queue),
                _ => {}
            }
        } else if offset == reg::DMATXCTL {
            // Transmission as a whole may have been enabled: send what waits in the queues.
            for queue in 0..reg::QUEUES {
                self.send(queue);
            }
        }
    }

    /// A frame came in from the wire.
    pub(crate) fn received(&mut self, frame: &[u8]) {
        if self.port.link.is_up() {
            self.receive.take(&mut self.host, frame);
        }
    }

    /// Sends what the driver put into a transmit queue.
    fn send(&mut self, queue: usize) {
        self.transmit.send(queue, &mut self.host, &mut self.port, &mut self.receive);
    }

    /// Goes on with the transmit queues that stopped because the wire had no room.
    pub(crate) fn resume(&mut self) {
        for queue in std::mem::take(&mut self.transmit.held) {
            self.send(queue);
        }
    }

    /// A peer came, with a non-blocking socket, or went.
    pub(crate) fn connect(&mut self, peer: Option<UnixStream>) {
        let changed = self.port.connect(peer);
        self.link_changed(changed);
    }

    /// The cable was plugged or pulled.
    pub(crate) fn plug(&mut self, plugged: bool) {
        let changed = self.port.link.pull(!plugged);
        self.link_changed(changed);
    }

    fn link_changed(&mut self, changed: bool) {
        if !changed {
            return;
        }
        match self.function.take() {
            Some(mut function) => {
                function.ping(self);
                self.function = Some(function);
            }
            None => self.host.interrupts.other(reg::CAUSE_LSC),
        }
    }

    /// Does what is due, and says when to look again.
    pub(crate) fn settle(&mut self, now: Instant) -> Plan {
        self.port.wire.flush();
        let at = match self.host.is_master() {
            true => self.host.interrupts.run(&self.host.registers, now),
            false => None,
        };
        let readable = !self.receive.is_paused(&self.host.registers);
        Plan { at, writable: self.port.wire.is_waiting(), readable }
    }
}

impl Physical for Device {
    fn read(&mut self, offset: u32) -> u32 {
        self.read_physical(offset)
    }

    fn write(&mut self, offset: u32, value: u32) {
        self.write_physical(offset, value);
    }

    fn reset(&mut self) {
        self.reset();
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 3, 4, 5];

    #[test]
    fn the_address_comes_from_the_eeprom_at_every_reset() {
        let mut device = Device::new(MAC);
        device.write(reg::RAL0, 0);
        device.write(reg::CTRL, reg::CTRL_RST);
        assert_eq!(device.read(reg::CTRL), 0, "the bit clears itself");
        assert_eq!(device.read(0x5400), 0x0300_0002);
        assert_eq!(device.read(0x5404), reg::RAH_VALID | 0x0504);
        device.write(reg::EERD, 0x09 << 2 | reg::EERD_START);
        let core = device.read(reg::EERD);
        assert_eq!(core & reg::EERD_DONE, reg::EERD_DONE);
        device.write(reg::EERD, ((core >> 16) + 1) << 2 | reg::EERD_START);
        assert_eq!(device.read(reg::EERD) >> 16, 0x0002);
    }

    #[test]
    fn a_semaphore_is_taken_by_reading() {
        let mut device = Device::new(MAC);
        assert_eq!(device.read(reg::SWSM), 0);
        assert_eq!(device.read(reg::SWSM), reg::SWSM_SMBI);
        device.write(reg::SWSM, 0);
        assert_eq!(device.read(reg::SWSM), 0);
    }

    #[test]
    fn no_register_breaks_the_model() {
        let mut device = Device::new(MAC);
        device.host.bus_master = true;
        for value in [0, u32::MAX, 0x8000_0001] {
            for offset in (0..reg::BAR0_SIZE).step_by(4) {
                device.write(offset, value);
                device.read(offset);
            }
            device.settle(Instant::now());
        }
    }

    #[test]
    fn a_dead_device_reads_all_ones() {
        let mut device = Device::new(MAC);
        device.host.dead = true;
        device.write(reg::CTRL, reg::CTRL_RST);
        assert_eq!(device.read(reg::STATUS), u32::MAX);
    }

    #[test]
    fn the_link_is_told() {
        let mut device = Device::new(MAC);
        device.connect(Some(UnixStream::pair().unwrap().0));
        assert_eq!(device.read(reg::EICS), reg::CAUSE_LSC);
        assert_ne!(device.read(reg::LINKS) & reg::LINKS_UP, 0);
    }
}
