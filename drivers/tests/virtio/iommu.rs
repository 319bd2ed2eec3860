//! What is asked of an IOMMU that has no driver.

use super::*;
use unikernel::mmio::{Registers, Width};
use unikernel::pci::fake::Card;

const F_BYPASS_CONFIG: u32 = 1 << 6;

/// A device whose structure for features is at 0 and whose configuration is at 0x100, `len` bytes
/// of it; every selection of features finds the same ones.
fn device(id: u16, features: u32, len: u32, bypass: u8) -> Device {
    let registers = Memory::new(0x1000);
    registers.write(0x04, Width::Dword, features);
    registers.write(0x100 + 36, Width::Byte, bypass.into());
    let structure = |kind: u8, offset: u32, len: u32| {
        let mut body = vec![16, kind, 4, 0, 0, 0];
        body.extend(offset.to_le_bytes());
        body.extend(len.to_le_bytes());
        body
    };
    let card = Card::new(0x1af4, id, 0x0880)
        .bar(4, 0x1000, 0b100, registers)
        .capability(0x09, &structure(1, 0, 0x38))
        .capability(0x09, &structure(4, 0x100, len));
    let machine = Machine::new();
    let port = machine.root_port(4, 1, 0xfe80_0000..0xfea0_0000, 0..0);
    machine.cold_plug(port, card, 0xfe80_0000);
    machine.root().enumerate().devices.remove(0)
}

#[test]
fn an_iommu_is_open_only_if_it_says_so() {
    for (id, features, len, bypass, closed) in [
        (0x1057, F_BYPASS_CONFIG, 40, 1, false),
        (0x1057, F_BYPASS_CONFIG, 40, 0, true),
        // The field means nothing.
        (0x1057, 0, 40, 1, true),
        // There is no such field.
        (0x1057, F_BYPASS_CONFIG, 36, 1, true),
        // No IOMMU.
        (0x1041, F_BYPASS_CONFIG, 40, 0, false),
    ] {
        let found = drivers::virtio::is_closed_iommu(&device(id, features, len, bypass));
        assert_eq!(found, closed, "{id:#x}, features {features:#x}, {len} bytes, bypass {bypass}");
    }
}
