//! The device's side towards its host: registers, memory, and interrupts. Everything behind it
//! works with these.

use crate::{
    interrupts::Interrupts,
    memory::{BadAddress, Memory},
    register_file::Registers,
    registers as reg,
};

/// What the host and the device have in common.
pub(crate) struct Host {
    pub(crate) registers: Registers,
    pub(crate) memory: Memory,
    pub(crate) interrupts: Interrupts,
    /// Bus Master Enable in the command register: without it there is no DMA and no message (PCI
    /// 3.0, 6.2.2).
    pub(crate) bus_master: bool,
    /// Fell silent, on command ([`Fault::Death`](crate::fault::Fault::Death)).
    pub(crate) dead: bool,
    /// Accesses to memory that the device was not given.
    pub(crate) bad_addresses: u64,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            registers: Registers::new(),
            memory: Memory::default(),
            interrupts: Interrupts::new(),
            bus_master: false,
            dead: false,
            bad_addresses: 0,
        }
    }

    /// A device reset. Memory and bus mastering belong to the bus, and stay.
    pub(crate) fn reset(&mut self) {
        self.registers = Registers::new();
        self.interrupts.reset();
    }

    /// Whether the driver asked the device to start no more accesses to memory (CTRL, 8.2.3.1).
    pub(crate) fn is_master_disabled(&self) -> bool {
        self.registers.get(reg::CTRL) & reg::CTRL_PCIE_MASTER_DISABLE != 0
    }

    /// Whether the device may access memory.
    pub(crate) fn is_master(&self) -> bool {
        self.bus_master && !self.is_master_disabled() && !self.dead
    }

    /// Counts an access to memory that is not there. Hardware would get an unsupported request.
    pub(crate) fn bad_address(&mut self, BadAddress(address): BadAddress) {
        if self.bad_addresses == 0 {
            log::warn!("DMA to {address:#x}, which is no memory of the guest");
        }
        self.bad_addresses += 1;
    }
}
