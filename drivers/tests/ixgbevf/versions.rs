//! What the host grants depends on what it is told that this side knows.

use crate::intel::{Faults, Offers, POOL, plug};
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

/// Linux's numbers: 4 is 1.3, 2 is 1.1.
#[test]
fn the_best_version_that_both_know_is_agreed_on() {
    for (newest, grants) in [(4, true), (2, true), (0, false)] {
        assert_eq!(grants_long_frames(newest), grants, "{newest}");
    }
}
