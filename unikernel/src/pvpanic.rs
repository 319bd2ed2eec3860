//! QEMU's panic device (QEMU `docs/specs/pvpanic.rst`): what is written to its one register becomes
//! an event of the hypervisor's, `GUEST_PANICKED`, by which a management layer knows a crash from a
//! machine that was switched off.

use core::cell::RefCell;

use critical_section::Mutex;

use crate::mmio::Mmio;
use crate::pci::{Device, Error};

/// Red Hat, and the device on PCI.
const IDS: (u16, u16) = (0x1b36, 0x0011);
/// The register: read, the events that it understands; written, one that has happened.
const EVENTS: usize = 0;
const PANICKED: u8 = 1 << 0;

/// The register of a panic device.
struct Register(Mmio);

static REGISTER: Mutex<RefCell<Option<Register>>> = Mutex::new(RefCell::new(None));

/// Has a crash signalled to this device from now on, if it is a panic device that takes that.
///
/// # Errors
/// It is one, and has no register that can be reached.
pub fn take_over(device: &Device) -> Result<bool, Error> {
    let register = Register::of(device)?;
    let is_one = register.is_some();
    if is_one {
        critical_section::with(|section| REGISTER.replace(section, register));
        log::debug!("pvpanic: {} is told of a crash", device.address());
    }
    Ok(is_one)
}

/// Tells the hypervisor that the machine has crashed, where it has such a device. It may stop the
/// machine then and there.
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only tested on a host"))]
pub(crate) fn signal() {
    critical_section::with(|section| {
        // A crash may have come while it was taken over.
        if let Ok(register) = REGISTER.borrow(section).try_borrow()
            && let Some(register) = &*register
        {
            register.signal();
        }
    });
}

impl Register {
    fn of(device: &Device) -> Result<Option<Self>, Error> {
        if device.ids() != IDS {
            return Ok(None);
        }
        let register = device.bar(0)?;
        let takes_it = register.read8(EVENTS) & PANICKED != 0;
        Ok(takes_it.then_some(Self(register)))
    }

    fn signal(&self) {
        self.0.write8(EVENTS, PANICKED);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::vec::Vec;

    use super::*;
    use crate::mmio::{Registers, Width};
    use crate::pci::fake::{Card, Machine};

    /// What it understands, and what it was told.
    struct Panics(u32, Mutex<Vec<(usize, u32)>>);

    impl Registers for Panics {
        fn read(&self, _offset: usize, _width: Width) -> u32 {
            self.0
        }

        fn write(&self, offset: usize, width: Width, value: u32) {
            assert_eq!(width, Width::Byte);
            self.1.lock().unwrap().push((offset, value));
        }
    }

    /// A machine's device of these ids, with firmware's address in its BAR.
    fn device(ids: (u16, u16), registers: &Arc<Panics>) -> Device {
        let machine = Machine::new();
        let card = Card::new(ids.0, ids.1, 0x0880).bar(0, 0x10, 0, registers.clone());
        machine.add(3, 0, card.poke(0x13, 0xfe));
        machine.root().enumerate().devices.remove(0)
    }

    #[test]
    fn a_crash_is_written_to_its_register_once() {
        let registers = Arc::new(Panics(0b11, Mutex::default()));
        assert!(take_over(&device(IDS, &registers)).unwrap());
        assert!(registers.1.lock().unwrap().is_empty(), "nothing has crashed");
        signal();
        assert_eq!(*registers.1.lock().unwrap(), [(0, 1)]);
    }

    #[test]
    fn others_and_those_that_take_no_panic_are_left_alone() {
        for (ids, events) in [((0x1b36, 0x0010), 0b11), (IDS, 0b10), (IDS, 0)] {
            let registers = Arc::new(Panics(events, Mutex::default()));
            let device = device(ids, &registers);
            assert!(Register::of(&device).unwrap().is_none(), "{ids:x?} {events}");
            assert!(registers.1.lock().unwrap().is_empty());
        }
    }
}
