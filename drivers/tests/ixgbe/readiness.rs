//! A reset that ends, and a device that is not ready after it.

use crate::intel::Rig;
use embassy_futures::block_on;
use unikernel::nic::{Link, ResetError, Settings};
use unikernel::pci::PciAddress;

#[test]
fn a_device_that_is_never_ready_after_a_reset_is_stopped_for_good() {
    let mut rig = Rig::of(Settings::default());
    rig.model.state().own.never_settles = true;
    assert_eq!(block_on(rig.nic.reset()), Err(ResetError::Stuck));
    assert_eq!(rig.free(), rig.pool.statistics().slots);
    assert!(!rig.machine.is_bus_master(PciAddress::new(0, 1, 0, 0)));
    assert_eq!(rig.nic.link(), Link::default());
}
