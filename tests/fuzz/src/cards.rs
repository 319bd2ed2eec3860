//! Configuration space of devices that lie: what is read of one may be anything, and something else
//! when it is read again.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use unikernel::mmio::{Mmio, Registers, Width};
use unikernel::pci::{Error, HostBridge, PciAddress, Root, Slot};

/// What a function has.
const SPACE: usize = 256;
/// Functions of an input: half of them are on the root bus, the others on the next.
const MOST: usize = 8;
/// Reads after which a bus has had enough: looking at a machine has an end.
const PATIENCE: usize = 1_000_000;
/// Events of a slot that are looked at.
const EVENTS: usize = 20;

/// Functions one after the other, then bytes by which what is read differs each time.
struct Liar {
    spaces: Mutex<Vec<u8>>,
    lies: Vec<u8>,
    reads: AtomicUsize,
}

impl Liar {
    fn place(&self, function: PciAddress, offset: u16) -> Option<usize> {
        let index = match (function.bus(), function.function()) {
            (bus @ 0..2, 0) => usize::from(bus) * MOST / 2 + usize::from(function.device()),
            _ => return None,
        };
        let is_there = usize::from(function.device()) < MOST / 2;
        (is_there && usize::from(offset) < SPACE).then_some(index * SPACE + usize::from(offset))
    }
}

impl HostBridge for Liar {
    fn read(&self, function: PciAddress, offset: u16, width: Width) -> u32 {
        let reads = self.reads.fetch_add(1, Relaxed);
        assert!(reads < PATIENCE, "it never has enough");
        let spaces = self.spaces.lock().expect("nobody panics with it");
        let bytes = self.place(function, offset).and_then(|at| spaces.get(at..at + width as usize));
        let Some(bytes) = bytes else { return u32::MAX >> (32 - 8 * width as u32) };
        let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
        let lie = self.lies.get(reads % self.lies.len().max(1)).copied().unwrap_or(0);
        value ^ u32::from(lie)
    }

    fn write(&self, function: PciAddress, offset: u16, width: Width, value: u32) {
        let mut spaces = self.spaces.lock().expect("nobody panics with it");
        let place = self.place(function, offset);
        if let Some(bytes) = place.and_then(|at| spaces.get_mut(at..at + width as usize)) {
            bytes.copy_from_slice(&value.to_le_bytes()[..width as usize]);
        }
    }

    fn map(&self, address: u64, len: u64) -> Result<Mmio, Error> {
        let size = usize::try_from(len).map_err(|_| Error::NotMappable(address, len))?;
        Ok(Mmio::model(Arc::new(Same(address as u32)), size))
    }
}

/// Registers that read the same wherever.
struct Same(u32);

impl Registers for Same {
    fn read(&self, _: usize, width: Width) -> u32 {
        self.0 & u32::MAX >> (32 - 8 * width as u32)
    }

    fn write(&self, _: usize, _: Width, _: u32) {}
}

/// Looks at all there is as the kernel does at boot, and takes it into use.
pub(crate) fn read(input: &[u8]) {
    let (spaces, lies) = input.split_at(input.len().min(MOST * SPACE));
    let spaces = Mutex::new(spaces.to_vec());
    let host = Liar { spaces, lies: lies.to_vec(), reads: AtomicUsize::new(0) };
    let found = Root::new(Arc::new(host), 0, 0..=1).enumerate();
    assert!(found.bridges.len() + found.devices.len() <= MOST, "{found:?}");
    for bridge in &found.bridges {
        migrate_agent::has_capability(bridge);
        bridge.restore();
        let _ = bridge.windows();
        let _ = bridge.enable_interrupt();
        if let Ok(Some(mut slot)) = Slot::new(bridge) {
            for _ in 0..EVENTS {
                slot.poll();
            }
            slot.refuse();
        }
        assert!(bridge.attach(&found.bridges).len() <= MOST, "{bridge:?}");
    }
    for device in &found.devices {
        let function = device.function();
        assert!(function.capabilities().count() <= SPACE / 4, "{device:?}");
        for capability in function.vendor_capabilities() {
            for offset in 0..=u8::MAX {
                let inside = offset < capability.len();
                assert!(inside || capability.read8(offset).is_none(), "{capability:?}");
                capability.read16(offset);
                capability.read32(offset);
            }
        }
        for bar in 0..6 {
            let _ = device.bar(bar);
        }
        let dma = device.start_dma(());
        if let Ok(vector) = device.interrupts(4) {
            vector.enable();
            vector.disable();
        }
        dma.stop();
        device.is_present();
    }
}

/// A function of this class and header type, with these capabilities.
fn function(class: u16, header: u8, capabilities: &[&[u8]]) -> Vec<u8> {
    let mut space = vec![0; SPACE];
    space[..4].copy_from_slice(&[0x86, 0x80, 0xd3, 0x10]);
    space[4..8].copy_from_slice(&[7, 0, 0x10, 0]);
    space[10..12].copy_from_slice(&class.to_le_bytes());
    space[14] = header;
    space[16..20].copy_from_slice(&0xfe00_0000u32.to_le_bytes());
    (space[0x34], space[0x3d]) = (0x40, 1);
    let mut at = 0x40;
    for capability in capabilities {
        space[at..at + capability.len()].copy_from_slice(capability);
        let next = (at + capability.len()).next_multiple_of(4);
        space[at + 1] = next as u8;
        at = next;
    }
    space
}

/// A NIC below a port, another beside it, and the same by liars.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let msi_x = [0x11, 0, 3, 0, 0, 0, 0, 0, 0, 0x20, 0, 0];
    let msi = [5, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut express = [0; 0x3c];
    (express[0], express[2], express[3], express[0x14]) = (0x10, 0x42, 1, 0x5b);
    let vendor = [9, 0, 0x20, 2, 0x57, 0x47, 0xd, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut port = function(0x0604, 1, &[&express, &msi_x, &vendor]);
    port[0x18..0x1b].copy_from_slice(&[0, 1, 1]);
    let nic = function(0x0200, 0, &[&msi_x, &express, &vendor, &msi]);
    let none = vec![0xff; SPACE];
    let machine = [port, nic.clone(), none.clone(), none, nic].concat();
    let mut liars = [machine.clone(), vec![0xff; 3 * SPACE]].concat();
    liars.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0xff, 0]);
    vec![machine, liars]
}
