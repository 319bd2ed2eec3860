use super::super::{Device, Error, PciAddress, Signalling, Space};
use super::*;
use crate::irq;
use crate::pci::fake::PORT_LINE;

fn attach_one(machine: &Machine, port: Port, card: Card) -> Vec<Device> {
    let mut slot = slot(machine);
    machine.hot_plug(port, card);
    embassy_futures::block_on(slot.power_on()).unwrap();
    slot.bridge().attach([])
}

#[test]
fn enumeration_finds_functions_across_bridges() {
    let machine = Machine::new();
    machine.add(0, 0, Card::new(0x8086, 0x29c0, 0x0600));
    machine.add(31, 0, Card::new(0x8086, 0x2918, 0x0601).poke(0x0e, 0x80));
    machine.add(31, 2, Card::new(0x8086, 0x2922, 0x0106));
    // Not a function: function 0 has no multi-function bit.
    machine.add(0, 3, Card::new(0x8086, 0x1234, 0x0000));
    let empty = machine.root_port(3, 1, 0xfe80_0000..0xfea0_0000, 0..0);
    let full = machine.root_port(4, 2, 0xfec0_0000..0xfee0_0000, 0..0);
    machine.cold_plug(full, nic(), 0xfec0_0000);
    let _ = empty;

    let found = machine.root().enumerate();
    let buses: Vec<_> = found.bridges.iter().map(|bridge| bridge.buses()).collect();
    assert_eq!(buses, [1..=1, 2..=2]);
    let ids: Vec<_> = found.devices.iter().map(|device| device.ids().1).collect();
    assert_eq!(ids, [0x29c0, 0x10d3, 0x2918, 0x2922]);
    let nic = &found.devices[1];
    assert_eq!(nic.address(), PciAddress::new(0, 2, 0, 0));
    assert_eq!(nic.class(), 0x0200);
    let above: Vec<_> = found.bridges_above(nic.address()).map(|b| b.address()).collect();
    assert_eq!(above, [PciAddress::new(0, 0, 4, 0)]);
}

#[test]
fn every_root_bus_is_found_and_each_function_once() {
    let machine = Machine::new();
    let far = machine.root_port(0, 0x81, 0xfec0_0000..0xfee0_0000, 0..0);
    machine.cold_plug(far, nic(), 0xfec0_0000);
    machine.move_to_root(0x80);
    machine.add(0, 0, Card::new(0x8086, 0x29c0, 0x0600));
    let near = machine.root_port(4, 1, MEMORY, PREFETCHABLE);
    machine.cold_plug(near, nic(), MEMORY.start);

    let found = machine.root().enumerate();
    let buses: Vec<_> = found.bridges.iter().map(|bridge| bridge.buses()).collect();
    assert_eq!(buses, [1..=1, 0x81..=0x81]);
    let addresses: Vec<_> = found.devices.iter().map(Device::address).collect();
    let on_bus = |bus| PciAddress::new(0, bus, 0, 0);
    assert_eq!(addresses, [on_bus(0), on_bus(1), on_bus(0x81)]);
    let above: Vec<_> = found.bridges_above(on_bus(0x81)).map(Bridge::address).collect();
    assert_eq!(above, [on_bus(0x80)]);
    // Every bus but the two below bridges may be a root.
    assert_eq!(machine.root().walk().count(), 254);
}

#[test]
fn a_bridge_that_claims_a_bus_of_another_root_is_skipped() {
    let machine = Machine::new();
    machine.root_port(0, 1, 0xfec0_0000..0xfee0_0000, 0..0);
    machine.move_to_root(0x80);
    machine.root_port(4, 0x80, MEMORY, 0..0);
    // The one on bus 0 comes first, and what it claims is below it.
    let found = machine.root().enumerate();
    let buses: Vec<_> = found.bridges.iter().map(|bridge| bridge.buses()).collect();
    assert_eq!(buses, [0x80..=0x80]);
}

#[test]
fn a_bridge_that_claims_its_own_bus_is_skipped() {
    for (secondary, subordinate) in [(0, 0), (0, 5), (3, 2)] {
        let machine = Machine::new();
        let bridge = Card::new(0x1b36, 0x000c, 0x0604).poke(0x0e, 1);
        machine.add(1, 0, bridge.poke(0x19, secondary).poke(0x1a, subordinate));
        assert!(machine.root().enumerate().bridges.is_empty());
    }
    // Two bridges that claim the same bus: its functions are found once.
    let machine = Machine::new();
    for device in [1, 2] {
        machine.root_port(device, 1, MEMORY, 0..0);
    }
    assert_eq!(machine.root().enumerate().bridges.len(), 1);
}

#[test]
fn firmware_assignments_stay_and_command_is_restored() {
    let (machine, port) = machine_with_port();
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let device = machine.root().enumerate().devices.remove(0);
    let command = device.function().read16(0x04);
    assert_eq!(command, 0b11, "sizing leaves decoding as it was");
    let bars: Vec<_> = device.bars().iter().map(|bar| (bar.index, bar.address, bar.size)).collect();
    assert_eq!(
        bars,
        [
            (0, 0xfe80_0000, 0x2_0000),
            (1, 0xfe82_0000, 0x2_0000),
            (2, 0, 0x20),
            (3, 0xfe84_0000, 0x4000)
        ]
    );
    let registers = device.bar(0).unwrap();
    registers.write32(0x100, 7);
    assert_eq!(registers.read32(0x100), 7);
    assert_eq!(registers.len(), 0x2_0000);
    assert!(matches!(device.bar(2), Err(Error::NoBar(_, 2))), "an I/O BAR is no register range");
    assert!(matches!(device.bar(4), Err(Error::NoBar(_, 4))));
}

#[test]
fn of_a_huge_bar_only_a_part_is_mapped() {
    let (machine, port) = machine_with_port();
    let card = Card::new(0x8086, 0x10d3, 0x0200).bar(0, 1 << 30, 0, Memory::new(0x1000));
    machine.cold_plug(port, card, 0x4000_0000);
    let device = machine.root().enumerate().devices.remove(0);
    assert_eq!(device.bars()[0].size, 1 << 30);
    assert_eq!(device.bar(0).unwrap().len(), 16 << 20);
}

#[test]
fn a_plugged_card_gets_bars_inside_the_window_without_overlap() {
    let (machine, port) = machine_with_port();
    let device = attach_one(&machine, port, nic()).remove(0);
    let mut ranges: Vec<_> =
        device.bars().iter().filter(|bar| bar.is_memory()).map(|bar| bar.range()).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.iter().all(|r| r.start >= MEMORY.start.into() && r.end <= MEMORY.end.into()));
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
    let registers = device.bar(0).unwrap();
    registers.write32(8, 0x1234);
    assert_eq!(registers.read32(8), 0x1234, "the device decodes where it was told to");
}

#[test]
fn prefetchable_64_bit_bars_go_above_4_gib() {
    let (machine, port) = machine_with_port();
    let card = Card::new(0x8086, 0x10fb, 0x0200)
        .bar(0, 0x8_0000, 0b1100, Memory::new(0x8_0000))
        .bar(4, 0x4000, 0b1100, Memory::new(0x4000));
    let device = attach_one(&machine, port, card).remove(0);
    let addresses: Vec<_> = device.bars().iter().map(|bar| bar.address).collect();
    assert_eq!(addresses, [PREFETCHABLE.start, PREFETCHABLE.start + 0x8_0000]);
    assert_eq!(device.bars()[0].space, Space::Memory { wide: true, prefetchable: true });
    let registers = device.bar(4).unwrap();
    registers.write32(0, 5);
    assert_eq!(registers.read32(0), 5);
}

#[test]
fn a_bar_that_does_not_fit_is_refused() {
    let (machine, port) = machine_with_port();
    let card = Card::new(0x8086, 0x10d3, 0x0200).bar(0, 0x40_0000, 0, Memory::new(16));
    assert!(attach_one(&machine, port, card).is_empty());
}

#[test]
fn capability_lists_that_lie_end() {
    let chain = |machine: &Machine| {
        let device = machine.root().enumerate().devices.remove(0);
        device.function().capabilities().map(|c| c.offset).collect::<Vec<_>>()
    };
    let with = |card: Card| {
        let machine = Machine::new();
        machine.add(1, 0, card);
        machine
    };
    let card = || Card::new(0x8086, 1, 0).capability(0x05, &[0; 10]).capability(0x09, &[4, 0]);
    assert_eq!(chain(&with(card())), [0x40, 0x4c]);
    // A circle.
    assert_eq!(chain(&with(card().poke(0x4d, 0x40))).len(), 48);
    // Into the header.
    assert_eq!(chain(&with(card().poke(0x4d, 0x10))), [0x40, 0x4c]);
    // The reserved low bits.
    assert_eq!(chain(&with(card().poke(0x41, 0x4e))), [0x40, 0x4c]);
    // No list at all.
    assert!(chain(&with(card().poke(0x06, 0))).is_empty());
}

#[test]
fn vendor_capabilities_are_bounded_by_their_length() {
    let machine = Machine::new();
    // Length 8, then 6 that is really there but not part of it.
    let body = [8, 2, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66];
    machine.add(1, 0, Card::new(0x1b36, 1, 0x0200).capability(0x09, &body).capability(0x09, &[2]));
    let device = machine.root().enumerate().devices.remove(0);
    let all: Vec<_> = device.function().vendor_capabilities().collect();
    assert_eq!(all.len(), 1, "a length that does not cover the header is no capability");
    let vendor = &all[0];
    assert_eq!(vendor.len(), 8);
    assert_eq!(vendor.read8(3), Some(2));
    assert_eq!(vendor.read32(4), Some(0x4433_2211));
    assert_eq!(vendor.read16(8), None);
    assert_eq!(vendor.read32(6), None);
    assert_eq!(vendor.read16(255), None);
    assert_eq!(vendor.write32(8, 0), None);
    assert_eq!(vendor.write16(6, 0xbeef), Some(()));
    assert_eq!(vendor.read16(6), Some(0xbeef));
}

#[test]
fn a_vendor_capability_over_the_end_is_refused() {
    let machine = Machine::new();
    machine.add(1, 0, Card::new(0x1b36, 1, 0x0200).capability(0x09, &[0xff]));
    let device = machine.root().enumerate().devices.remove(0);
    assert_eq!(device.function().vendor_capabilities().count(), 0);
}

#[test]
fn interrupts_fall_back_from_msi_x_to_msi_to_the_pin() {
    let plain = || Card::new(0x8086, 0x10d3, 0x0200).bar(3, 0x4000, 0, Memory::new(0x4000));
    let set_up = |card: Card| {
        let (machine, port) = machine_with_port();
        machine.cold_plug(port, card, 0xfe80_0000);
        let device = machine.root().enumerate().devices.remove(0);
        device.enable_interrupt().map(|vector| (device, vector))
    };
    let (device, vector) = set_up(plain().msi_x(3, 5).msi().pin(11)).unwrap();
    assert_eq!(vector.signalling, Signalling::MsiX);
    let table = device.bar(3).unwrap();
    let message = vector.interrupt.message();
    assert_eq!(u64::from(table.read32(0)), message.address);
    assert_eq!(table.read32(8), message.data);
    assert_eq!(table.read32(12), 0, "unmasked");
    assert_eq!(table.read32(28), 1, "the others are masked");
    assert_eq!(device.function().read16(0x42) >> 14, 0b10, "enabled, function not masked");

    let (device, vector) = set_up(plain().msi().pin(11)).unwrap();
    assert_eq!(vector.signalling, Signalling::Msi);
    let message = vector.interrupt.message();
    assert_eq!(device.function().read16(0x42) & 0x71, 1);
    assert_eq!(u64::from(device.function().read32(0x44)), message.address);
    assert_eq!(u32::from(device.function().read16(0x4c)), message.data);

    let (device, vector) = set_up(plain().pin(11)).unwrap();
    assert_eq!(vector.signalling, Signalling::Pin);
    assert_eq!(device.function().read16(0x04) & 0x400, 0);
    irq::legacy(11).unwrap().trigger();
    assert!(vector.interrupt.take());
    vector.disable();
    assert_eq!(device.function().read16(0x04) & 0x400, 0x400);

    assert!(matches!(set_up(plain()), Err(Error::NoInterrupt(_))));
    assert!(matches!(set_up(plain().pin(255)), Err(Error::NoInterrupt(_))));
}

#[test]
fn a_message_that_a_previous_owner_masked_is_unmasked() {
    const MASKABLE: u8 = 1 << 0;
    const WIDE: u8 = 1 << 7;
    for (wide, mask) in [(0, 0x0c), (WIDE, 0x10)] {
        // All writable, so what is masked beyond the one message in use is seen to stay.
        let mut body = [0; 0x16];
        body[..2].copy_from_slice(&[wide, MASKABLE]);
        body[mask - 2..mask + 2].fill(0xff);
        let (machine, port) = machine_with_port();
        let card = Card::new(0x8086, 0x1521, 0x0200).capability(0x05, &body);
        machine.cold_plug(port, card, 0xfe80_0000);
        let device = machine.root().enumerate().devices.remove(0);
        assert_eq!(device.enable_interrupt().unwrap().signalling, Signalling::Msi);
        assert_eq!(device.function().read32(0x40 + mask as u16), u32::MAX - 1);
    }
}

#[test]
fn a_plugged_card_decodes_what_was_assigned_and_nothing_else() {
    let (machine, port) = machine_with_port();
    let device = attach_one(&machine, port, nic()).remove(0);
    let held = |index: u16| device.function().read32(0x10 + 4 * index);
    assert_eq!(held(2), 1, "ports are not used");
    for bar in device.bars().iter().filter(|bar| bar.index != 2) {
        assert!(MEMORY.contains(&(bar.address as u32)), "{bar:?}");
        assert_eq!(u64::from(held(bar.index.into())), bar.address);
    }
    assert_eq!(device.function().read16(0x04) & 0b11, 0, "until its driver wants it");
}

#[test]
fn several_msi_x_entries_raise_one_interrupt() {
    for (has, wants, gets) in [(5, 3, 3), (2, 3, 2), (1, 1, 1)] {
        let card = Card::new(0x8086, 0x10d3, 0x0200).bar(3, 0x4000, 0, Memory::new(0x4000));
        let (machine, port) = machine_with_port();
        machine.cold_plug(port, card.msi_x(3, has), 0xfe80_0000);
        let device = machine.root().enumerate().devices.remove(0);
        let vector = device.interrupts(wants).unwrap();
        vector.enable();
        assert_eq!((vector.signalling, vector.entries), (Signalling::MsiX, gets));
        let table = device.bar(3).unwrap();
        for entry in 0..usize::from(has) {
            let is_used = entry < usize::from(gets);
            assert_eq!(table.read32(16 * entry + 12) & 1 == 0, is_used, "masked or not");
            let data = if is_used { vector.interrupt.message().data } else { 0 };
            assert_eq!(table.read32(16 * entry + 8), data);
        }
    }
}

#[test]
fn a_plugged_card_shares_the_line_of_its_port_or_has_none() {
    let signalling = |pin: u8| {
        let (machine, port) = machine_with_port();
        let card = Card::new(0x8086, 0x100e, 0x0200).bar(0, 0x2_0000, 0, Memory::new(0x2_0000));
        // As it comes out of reset: firmware has not seen it.
        let device = attach_one(&machine, port, card.pin(0).poke(0x3d, pin)).remove(0);
        device.enable_interrupt()
    };
    let vector = signalling(1).unwrap();
    assert_eq!(vector.signalling, Signalling::Pin);
    irq::legacy(PORT_LINE).unwrap().trigger();
    assert!(vector.interrupt.take());
    assert!(matches!(signalling(2), Err(Error::NoInterrupt(_))));
}

#[test]
fn an_msi_x_table_outside_its_bar_is_not_used() {
    for table in [5u8, 3] {
        // BAR 5 does not exist; in BAR 3 the offset leads past the end.
        let card = Card::new(0x8086, 0x10d3, 0x0200).bar(3, 0x4000, 0, Memory::new(0x4000));
        let card = card.msi_x(table, 5).poke(0x45, 0x40).msi();
        let (machine, port) = machine_with_port();
        machine.cold_plug(port, card, 0xfe80_0000);
        let device = machine.root().enumerate().devices.remove(0);
        assert_eq!(device.enable_interrupt().unwrap().signalling, Signalling::Msi);
    }
}

#[test]
fn a_vanished_function_is_left_alone() {
    let (machine, port) = machine_with_port();
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let device = machine.root().enumerate().devices.remove(0);
    let dma = device.start_dma(());
    let vector = device.enable_interrupt().unwrap();
    let registers = device.bar(0).unwrap();
    machine.pull(port);
    assert!(!device.is_present());
    assert_eq!(registers.read32(0), u32::MAX);
    drop(dma);
    vector.disable();
    assert_eq!(device.function().capabilities().count(), 0);
}

/// A ring that must not go while the device reaches memory.
struct Ring<'a>(&'a Machine, PciAddress);

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        assert!(!self.0.is_bus_master(self.1), "given back while the device may write it");
    }
}

#[test]
fn memory_outlives_the_device_s_access_to_it() {
    let (machine, port) = machine_with_port();
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let device = machine.root().enumerate().devices.remove(0);
    let start = || device.start_dma(Ring(&machine, device.address()));
    let dma = start();
    assert!(machine.is_bus_master(device.address()));
    drop(dma);
    let ring = start().stop();
    assert!(!machine.is_bus_master(device.address()));
    drop(ring);
}
