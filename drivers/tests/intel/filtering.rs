//! Which frames arrive, and what becomes of their VLAN tags.

use super::*;
use model::Family;
use unikernel::nic::VlanId;

const BROADCAST: [u8; 6] = [0xff; 6];
const GROUP: [u8; 6] = [0x33, 0x33, 0xff, 0x67, 0x6f, 0x01];
const OTHER_GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb];
const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x77];

fn to(station: [u8; 6]) -> Vec<u8> {
    let mut frame = frame(1, 60);
    frame[..6].copy_from_slice(&station);
    frame
}

fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    let [high, low] = tag.to_be_bytes();
    [&frame[..12], &[0x81, 0x00, high, low], &frame[12..]].concat()
}

/// Whether it gets through the device and the driver, and as what.
fn arrives(rig: &mut Rig, frame: &[u8]) -> Option<Vec<u8>> {
    rig.model.arrive(frame);
    let received = rig.nic.receive();
    rig.nic.flush();
    received.map(|frame| frame.to_vec())
}

#[test]
fn the_station_broadcasts_and_the_groups_asked_for_get_through() {
    let mut rig = Rig::new();
    assert!(arrives(&mut rig, &to(model::MAC)).is_some());
    assert!(arrives(&mut rig, &to(BROADCAST)).is_some());
    for other in [GROUP, OTHER_GROUP, STRANGER] {
        assert!(arrives(&mut rig, &to(other)).is_none(), "{other:x?}");
    }
    rig.nic.accept_multicast(&[GROUP]);
    assert!(arrives(&mut rig, &to(GROUP)).is_some());
    assert!(arrives(&mut rig, &to(OTHER_GROUP)).is_none());
    block_on(rig.nic.reset()).unwrap();
    assert!(arrives(&mut rig, &to(GROUP)).is_some(), "a reset keeps the groups");
    rig.nic.accept_multicast(&[OTHER_GROUP]);
    assert!(arrives(&mut rig, &to(GROUP)).is_none());
    assert!(arrives(&mut rig, &to(OTHER_GROUP)).is_some());
    assert_eq!(rig.nic.statistics().received, 5);
}

#[test]
fn a_station_address_in_place_of_its_own_outlives_a_reset() {
    let mut rig = Rig::of(Settings { mac: Some(STRANGER), ..Settings::default() });
    for _ in 0..2 {
        assert_eq!(rig.nic.mac(), STRANGER);
        assert!(arrives(&mut rig, &to(STRANGER)).is_some());
        assert!(arrives(&mut rig, &to(model::MAC)).is_none());
        block_on(rig.nic.reset()).unwrap();
    }
}

#[test]
fn promiscuous_is_everything() {
    if !family::CAN_BE_PROMISCUOUS {
        return;
    }
    let mut rig = Rig::of(Settings { promiscuous: true, ..Settings::default() });
    for round in 0..2 {
        for station in [model::MAC, BROADCAST, GROUP, OTHER_GROUP, STRANGER] {
            assert!(arrives(&mut rig, &to(station)).is_some(), "{station:x?}, round {round}");
        }
        block_on(rig.nic.reset()).unwrap();
    }
}

#[test]
fn in_a_vlan_tags_come_and_go_with_the_device() {
    let vlan = VlanId::new(100);
    let mut rig = Rig::of(Settings { vlan, ..Settings::default() });
    for round in 0..2 {
        let frame = frame(1, 60);
        // Priority 5 and drop eligibility are none of the filter's business.
        for tag in [100, 0xb064] {
            assert_eq!(arrives(&mut rig, &tagged(&frame, tag)).as_ref(), Some(&frame));
        }
        assert!(arrives(&mut rig, &frame).is_none(), "untagged");
        assert!(arrives(&mut rig, &tagged(&frame, 101)).is_none(), "another VLAN");
        rig.queue(&frame);
        rig.nic.flush();
        assert_eq!(rig.model.take_sent(), [tagged(&frame, 100)]);
        // The device lets untagged frames through, the driver does not.
        assert_eq!(rig.nic.statistics().other_vlan, round + 1);
        block_on(rig.nic.reset()).unwrap();
    }
}

#[test]
fn a_device_that_does_not_filter_is_not_believed() {
    let mut rig = Rig::of(Settings { vlan: VlanId::new(100), ..Settings::default() });
    rig.model.state().forget(model::State::VLAN_FILTER);
    assert!(arrives(&mut rig, &tagged(&frame(1, 60), 101)).is_none());
    assert_eq!(rig.nic.statistics().other_vlan, 1);
}

#[test]
fn without_a_vlan_tags_stay_where_they_are() {
    let mut rig = Rig::new();
    let frame = tagged(&frame(1, 60), 100);
    assert_eq!(arrives(&mut rig, &frame), Some(frame));
}
