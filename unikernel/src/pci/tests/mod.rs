mod devices;
mod slots;

use super::fake::{Card, Machine, Memory, Port};
use super::{Bridge, Slot};
use std::ops::Range;

const MEMORY: Range<u32> = 0xfe80_0000..0xfea0_0000;
const PREFETCHABLE: Range<u64> = 0x80_0000_0000..0x80_4000_0000;

/// BARs as an 82574L has them.
fn nic() -> Card {
    Card::new(0x8086, 0x10d3, 0x0200)
        .bar(0, 0x2_0000, 0, Memory::new(0x2_0000))
        .bar(1, 0x2_0000, 0, Memory::new(0x2_0000))
        .io_bar(2, 0x20)
        .bar(3, 0x4000, 0, Memory::new(0x4000))
        .msi_x(3, 5)
}

fn machine_with_port() -> (Machine, Port) {
    let machine = Machine::new();
    let port = machine.root_port(4, 1, MEMORY, PREFETCHABLE);
    (machine, port)
}

fn bridge(machine: &Machine) -> Bridge {
    machine.root().enumerate().bridges.remove(0)
}

fn slot(machine: &Machine) -> Slot {
    Slot::new(&bridge(machine)).unwrap().expect("a slot")
}
