//! How often a driver reaches for its device when a machine moves. Each access to configuration
//! space takes a virtual machine an exit to its hypervisor, and one to registers may; all of them
//! are in the service gap. A change that needs more of them has to say so here.

use super::*;
use embassy_futures::block_on;
use unikernel::pci::fake::Accesses;

#[test]
fn a_machine_that_moves_takes_so_many_accesses() {
    let mut rig = Rig::new();
    let bridge = rig.machine.root().enumerate().bridges.remove(0);
    rig.machine.take_accesses();
    block_on(rig.nic.stop());
    let stop = rig.machine.take_accesses();

    rig.machine.reset(rig.port);
    rig.model.abandon();
    let device = bridge.attach([]).remove(0);
    let settings = Settings { mac: Some(model::MAC), ..Settings::default() };
    rig.nic = block_on(drivers::probe(device, rig.pool, &settings)).unwrap();
    let start = rig.machine.take_accesses();
    rig.model.connect(Some(rig.nic.interrupt()));
    assert!(rig.model.arrive(&frame(0, 60)), "it is up again");
    assert_eq!(
        [stop, start],
        family::MOVES.map(|[config, registers]| Accesses { config, registers })
    );
}

#[test]
fn groups_that_are_the_same_take_none() {
    let mut rig = Rig::new();
    let all = [[0x33, 0x33, 0, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 0x80]];
    let taken = |groups: &[[u8; 6]]| {
        rig.machine.take_accesses();
        rig.nic.accept_multicast(groups);
        rig.machine.take_accesses()
    };
    let taken = [&all[..], &all, &all[..1]].map(taken);
    assert_eq!(taken, family::GROUPS.map(|registers| Accesses { config: 0, registers }));
}
