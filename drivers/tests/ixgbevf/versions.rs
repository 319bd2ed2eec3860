//! What the host grants depends on what it is told that this side knows.

use crate::intel::{Faults, Offers, POOL, Rig, frame, plug};
use drivers::{Error, Refusal};
use embassy_futures::block_on;
use unikernel::dma::{Policy, fake};
use unikernel::nic::{Mtu, Settings};

/// The newest version that the host knows, and whether an MTU of 9000 is to be had from it.
fn grants_long_frames(newest: u32) -> bool {
    let pool = fake::pool(POOL, Policy::Never);
    let (_machine, _port, model, device) = plug(pool, Faults::default(), Offers::MsiX);
    model.state().own.newest = newest;
    let mtu = Mtu::new(9000).unwrap();
    match block_on(drivers::probe(device, pool, &Settings { mtu, ..Settings::default() })) {
        Ok(_) => true,
        Err(error) => {
            assert!(matches!(error, Error::Refused(_, Refusal::Mtu(_))), "{error}");
            false
        }
    }
}

/// Linux's numbers: 4 is 1.3, 3 is 1.2, 2 is 1.1.
#[test]
fn the_best_version_that_both_know_is_agreed_on() {
    for (newest, grants) in [(4, true), (3, true), (2, true), (0, false)] {
        assert_eq!(grants_long_frames(newest), grants, "{newest}");
    }
}

/// Which an 82599's host knows from 1.2 on.
#[test]
fn every_group_is_had_from_the_version_before_the_newest_too() {
    for (newest, every) in [(4, true), (3, true), (2, false)] {
        let mut rig = Rig::new();
        rig.model.state().own.newest = newest;
        block_on(rig.nic.reset()).unwrap();
        let groups = (0..31).map(|n| [1, 0, 0x5e, 0, n << 4, n]).collect::<Vec<_>>();
        rig.nic.accept_multicast(&groups);
        let mut to_last = frame(1, 60);
        to_last[..6].copy_from_slice(&groups[30]);
        assert_eq!(rig.model.arrive(&to_last), every, "{newest}");
    }
}
