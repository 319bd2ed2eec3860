//! What no other family does when it starts.

use crate::family::{CTRL, INTEL_I350, SW_FW_SYNC};
use crate::intel::{Arc, Faults, Model, Offers, POOL, Rig, plug, starting};
use embassy_futures::block_on;
use unikernel::dma::{Policy, fake};
use unikernel::nic::{Nic, Settings, VlanId};
use unikernel::pci::fake::Card;

fn probe(faults: Faults) -> (Arc<Model>, Box<dyn Nic>) {
    let pool = fake::pool(POOL, Policy::Never);
    let (_machine, _port, model, device) = plug(pool, faults, Offers::MsiX);
    let nic = block_on(drivers::probe(device, pool, &Settings::default())).unwrap();
    (model, nic)
}

#[test]
fn the_phy_negotiates_once_and_keeps_its_link_over_resets() {
    let mut rig = Rig::new();
    assert_eq!(rig.model.state().own.negotiations, 1, "nobody had it negotiate before");
    assert!(rig.nic.link().up);
    for _ in 0..3 {
        block_on(rig.nic.reset()).unwrap();
        assert!(rig.nic.link().up);
    }
    assert_eq!(rig.model.state().own.negotiations, 1, "a new link takes seconds");
    // With the cable out there is no link to lose.
    rig.model.set_link(false);
    block_on(rig.nic.reset()).unwrap();
    assert!(!rig.nic.link().up);
    assert_eq!(rig.model.state().own.negotiations, 2);
}

#[test]
fn the_phy_is_given_back_to_firmware() {
    let (model, _nic) = probe(Faults::default());
    assert_eq!(model.register(SW_FW_SYNC), 0);
}

#[test]
fn firmware_that_has_the_phy_is_waited_for() {
    // The model insists on it.
    let talks = |model: &Model| model.state().own.firmware_talks = 10;
    let (nic, _) = starting::probe(Faults::default(), talks);
    assert!(nic.unwrap().link().up);
}

#[test]
fn firmware_that_keeps_the_phy_delays_the_start_but_does_not_prevent_it() {
    // The model insists that the driver takes it all the same.
    let (model, _nic) = probe(Faults { firmware_keeps_phy: true, ..Faults::default() });
    assert_eq!(model.state().own.negotiations, 1);
}

#[test]
fn a_device_without_nvm_starts() {
    let (model, nic) = probe(Faults { no_nvm: true, ..Faults::default() });
    assert!(nic.link().up);
    assert_eq!(model.register(CTRL) & 1 << 6, 1 << 6, "the MAC follows the PHY");
}

#[test]
fn a_device_that_loaded_no_address_is_an_error() {
    let (nic, taken) = starting::probe(Faults { no_mac: true, ..Faults::default() }, |_| {});
    let error = nic.err();
    assert!(matches!(error, Some(drivers::Error::NoAddress(_, [0, 0, 0, 0, 0, 0]))), "{error:?}");
    assert_eq!(taken, 0);
}

/// Linux's igb names the bits (`e1000_82575.h`, E1000_DVMOLR_HIDEVLAN and E1000_DVMOLR_STRVLAN).
#[test]
fn an_i350_takes_tags_out_and_reports_them() {
    const DVMOLR: usize = 0xc038;
    let settings = Settings { vlan: VlanId::new(5), ..Settings::default() };
    let rig = Rig::of_card(Card::new(0x8086, INTEL_I350, 0x0200).msi_x(3, 10), settings);
    for queue in 0..8 {
        let [hide, strip] =
            [29, 30].map(|bit| rig.model.register(DVMOLR + 0x40 * queue) >> bit & 1);
        assert_eq!((hide, strip), (0, 1), "queue {queue}");
    }
}
