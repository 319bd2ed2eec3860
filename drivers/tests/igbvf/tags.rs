//! The I350 has the bytes of some tags swapped.

use crate::family::MSI_X;
use crate::intel::{Rig, frame};
use unikernel::nic::{Settings, VlanId};
use unikernel::pci::fake::Card;

/// Linux's igb: `IGBVF_FLAG_RX_LB_VLAN_BSWAP`.
#[test]
fn what_another_function_of_an_i350_sent_is_of_its_vlan() {
    const LOOPED_BACK: u64 = 1 << 18;
    let (bar, entries) = MSI_X;
    for (id, swaps) in [(0x1520, true), (0x10ca, false)] {
        let settings = Settings { vlan: VlanId::new(5), ..Settings::default() };
        let mut rig = Rig::of_card(Card::new(0x8086, id, 0x0200).msi_x(bar, entries), settings);
        let mut arrives = |tag, status| {
            rig.model.deliver_as(&frame(1, 60), tag, status);
            rig.nic.receive().is_some()
        };
        assert!(arrives(5, 0));
        assert_eq!(arrives(5 << 8, LOOPED_BACK), swaps);
        assert_eq!(arrives(5, LOOPED_BACK), !swaps);
    }
}
