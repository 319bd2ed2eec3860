//! Which frames the device takes (datasheet 7.1.1).

use crate::{packet::Packet, register_file::Registers, registers as reg};

/// Whether a frame's destination and VLAN pass the filters.
pub(crate) fn accept(registers: &Registers, frame: &[u8], packet: &Packet) -> bool {
    let Some(destination) = frame.first_chunk::<6>() else { return false };
    address(registers, destination) && vlan(registers, packet)
}

fn address(registers: &Registers, destination: &[u8; 6]) -> bool {
    let control = registers.get(reg::FCTRL);
    if destination == &[0xFF; 6] {
        return control & reg::FCTRL_BROADCAST != 0;
    }
    if exact(registers, destination) {
        return true;
    }
    if destination[0] & 1 == 0 {
        return control & reg::FCTRL_UNICAST_PROMISCUOUS != 0;
    }
    control & reg::FCTRL_MULTICAST_PROMISCUOUS != 0 || multicast(registers, destination)
}

/// The receive address registers (8.2.3.7).
fn exact(registers: &Registers, destination: &[u8; 6]) -> bool {
    let low = u32::from_le_bytes(destination[..4].try_into().expect("4 of 6 bytes"));
    let high = u32::from(u16::from_le_bytes([destination[4], destination[5]]));
    (0..reg::RECEIVE_ADDRESSES).any(|index| {
        let at = reg::RAL0 + 8 * index;
        let upper = registers.get(at + 4);
        upper & reg::RAH_VALID != 0 && upper & 0xFFFF == high && registers.get(at) == low
    })
}

/// The multicast table (7.1.1): 4,096 bits, indexed by 12 bits of the address. MCSTCTRL says which.
fn multicast(registers: &Registers, destination: &[u8; 6]) -> bool {
    let control = registers.get(reg::MCSTCTRL);
    if control & reg::MCSTCTRL_FILTER == 0 {
        return false;
    }
    let upper = u32::from(u16::from_le_bytes([destination[4], destination[5]]));
    let hash = upper >> (4 - control % 4) & 0xFFF;
    registers.get(reg::MTA + hash / 32 * 4) >> (hash % 32) & 1 != 0
}

/// The VLAN table (7.1.1). Frames without a tag pass.
fn vlan(registers: &Registers, packet: &Packet) -> bool {
    let Some(tag) = packet.vlan else { return true };
    if registers.get(reg::VLNCTRL) & reg::VLNCTRL_FILTER == 0 {
        return true;
    }
    let id = u32::from(tag & 0xFFF);
    registers.get(reg::VFTA + id / 32 * 4) >> (id % 32) & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{parse, samples};

    fn takes(registers: &Registers, destination: [u8; 6]) -> bool {
        let mut frame = samples::tcp_v4(b"");
        frame[..6].copy_from_slice(&destination);
        accept(registers, &frame, &parse(&frame))
    }

    #[test]
    fn only_the_own_address() {
        let mut registers = Registers::new();
        registers.set(reg::RAL0 + 8, 0x0300_0002);
        registers.set(reg::RAL0 + 12, 0x0504);
        let own = [2, 0, 0, 3, 4, 5];
        assert!(!takes(&registers, own), "not valid yet");
        registers.set(reg::RAL0 + 12, reg::RAH_VALID | 0x0504);
        assert!(takes(&registers, own));
        assert!(!takes(&registers, [2, 0, 0, 3, 4, 6]));
        registers.set(reg::FCTRL, reg::FCTRL_UNICAST_PROMISCUOUS);
        assert!(takes(&registers, [2, 0, 0, 3, 4, 6]));
    }

    #[test]
    fn groups() {
        let mut registers = Registers::new();
        let all_nodes = [0x33, 0x33, 0, 0, 0, 1];
        assert!(!takes(&registers, [0xFF; 6]) && !takes(&registers, all_nodes));
        registers.set(reg::FCTRL, reg::FCTRL_BROADCAST);
        assert!(takes(&registers, [0xFF; 6]));
        // Bits 47:36, as Linux chooses them: 0x0100 >> 4.
        registers.set(reg::MCSTCTRL, reg::MCSTCTRL_FILTER);
        registers.set(reg::MTA, 1 << 0x10);
        assert!(takes(&registers, all_nodes));
        assert!(!takes(&registers, [0x33, 0x33, 0, 0, 0, 2]));
        registers.set(reg::FCTRL, reg::FCTRL_MULTICAST_PROMISCUOUS);
        assert!(takes(&registers, [0x33, 0x33, 0, 0, 0, 2]));
    }

    #[test]
    fn vlans() {
        let mut registers = Registers::new();
        registers.set(reg::FCTRL, reg::FCTRL_UNICAST_PROMISCUOUS);
        let mut frame = samples::tcp_v4(b"");
        frame.splice(12..12, [0x81, 0, 0, 35]);
        let packet = parse(&frame);
        assert!(accept(&registers, &frame, &packet));
        registers.set(reg::VLNCTRL, reg::VLNCTRL_FILTER);
        assert!(!accept(&registers, &frame, &packet));
        registers.set(reg::VFTA + 4, 1 << 3);
        assert!(accept(&registers, &frame, &packet));
    }
}
