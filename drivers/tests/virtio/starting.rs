use super::*;
use drivers::Error;
use embassy_futures::block_on;
use model::*;
use unikernel::nic::{Checksums, Mtu, ResetError, VlanId};
use unikernel::pci::PciAddress;

/// Starts a driver that must fail, and everything it took must be back.
fn failure(traits: Traits, structures: &[(u8, u32, u32)]) -> (Error, Arc<Model>) {
    let pool = fake::pool(4 << 20, Policy::Never);
    let (machine, _, model, device) = plug(pool, traits, structures, true);
    let error =
        block_on(drivers::probe(device, pool, &Settings::default())).map(|_| ()).unwrap_err();
    assert_eq!(pool.statistics().slots_free, pool.statistics().slots);
    assert!(!machine.is_bus_master(address()), "it cannot reach memory");
    (error, model)
}

fn address() -> PciAddress {
    PciAddress::new(0, 1, 0, 0)
}

#[test]
fn only_what_is_offered_and_of_use_is_accepted() {
    let rig = Rig::new();
    let accepted = CSUM | GUEST_CSUM | MAC_BIT | STATUS | EVENT_IDX | VERSION_1 | ACCESS_PLATFORM;
    assert_eq!(rig.model.accepted(), accepted);
    assert_eq!(rig.model.status(), 0x0f);
    assert_eq!((rig.nic.family(), rig.nic.mac()), ("virtio", MAC));
    assert_eq!(rig.taken(), TAKEN);

    let traits = Traits { offered: MAC_BIT | VERSION_1 | STANDBY, ..Traits::default() };
    let rig = Rig::with(traits);
    assert_eq!(rig.model.accepted(), traits.offered);
    let capabilities = rig.nic.capabilities();
    // By the driver: they are no feature of the device.
    assert_eq!(capabilities.transmit_checksums, Checksums { ipv4: false, tcp: true, udp: true });
    assert!(rig.nic.link().up, "always up without a status");
}

#[test]
fn only_a_device_that_is_known_is_the_hypervisors_own() {
    let with = |offered, subsystem| Traits { offered, subsystem, ..Traits::default() };
    let (qemu, spec, maker) = ((0x1af4, 0x1100), (0x1af4, 0x1041), (0x15b3, 0x0001));
    for (traits, is_logged) in [
        (with(USUAL, qemu), true),
        (with(USUAL & !ACCESS_PLATFORM, qemu), true),
        (with(USUAL | STANDBY, spec), true),
        (with(USUAL | ORDER_PLATFORM, qemu), false),
        (with(USUAL | ORDER_PLATFORM | STANDBY, qemu), false),
        (with(USUAL, spec), false),
        (with(USUAL, maker), false),
        (with(USUAL & !ACCESS_PLATFORM, maker), false),
    ] {
        let mut rig = Rig::with(traits);
        let case = format!("{:#x} {:#x?}", traits.offered, traits.subsystem);
        assert_eq!(rig.nic.is_logged(), is_logged, "{case}");
        assert_eq!(rig.model.accepted() & ORDER_PLATFORM, traits.offered & ORDER_PLATFORM);
        block_on(rig.nic.reset()).unwrap();
        assert_eq!(rig.nic.is_logged(), is_logged, "{case}, reset");
    }
}

#[test]
fn queues_are_as_long_as_the_device_allows() {
    for (offered, used) in [(2, 2), (64, 64), (100, 64), (256, 256), (1024, 256), (32768, 256)] {
        let mut rig = Rig::with(Traits { queue_size: offered, ..Traits::default() });
        assert_eq!(rig.model.queue_size(RECEIVE), used);
        assert_eq!(rig.model.queue_size(TRANSMIT), used);
        assert_eq!(rig.model.posted(), used);
        assert!(rig.model.receive(&frame(1, 60)));
        assert_eq!(*rig.nic.receive().unwrap(), frame(1, 60));
        rig.queue(&frame(2, 60));
        rig.nic.flush();
        assert_eq!(rig.model.take_sent(), [plain(frame(2, 60))]);
    }
}

#[test]
fn a_smaller_mtu_is_respected() {
    let offered = USUAL | MTU;
    let mut rig = Rig::with(Traits { offered, mtu: 1300, ..Traits::default() });
    assert_eq!(rig.nic.capabilities().max_frame, 1314);
    rig.model.receive(&frame(0, 1315));
    assert!(rig.nic.receive().is_none());
    rig.queue(&frame(0, 1315));
    assert_eq!(rig.nic.statistics().transmit_dropped, 1);
}

#[test]
fn configuration_that_changes_while_it_is_read_is_read_again() {
    let traits = Traits { mac: [2; 6], next_mac: Some(MAC), ..Traits::default() };
    assert_eq!(Rig::with(traits).nic.mac(), MAC);
}

#[test]
fn a_feature_whose_field_the_device_does_not_have_is_none() {
    let pool = fake::pool(4 << 20, Policy::Never);
    let mut structures = Model::structures();
    // Up to the status.
    structures[3].2 = 8;
    let traits = Traits { offered: USUAL | MTU, ..Traits::default() };
    let (_machine, _, model, device) = plug(pool, traits, &structures, true);
    let nic = block_on(drivers::probe(device, pool, &Settings::default())).unwrap();
    assert_eq!(model.accepted() & (MTU | STATUS), STATUS);
    assert_eq!(nic.capabilities().max_frame, 1514);
}

#[test]
fn what_cannot_be_driven_is_refused_by_name() {
    let without = |bit: u64| Traits { offered: USUAL & !bit, ..Traits::default() };
    let whole = Model::structures();
    assert_eq!(failure(without(VERSION_1), &whole).0, Error::NotModern(address()));
    assert_eq!(failure(without(MAC_BIT), &whole).0, Error::NoAddress(address(), MAC));
    let group = Traits { mac: [1; 6], ..Traits::default() };
    assert_eq!(failure(group, &whole).0, Error::NoAddress(address(), [1; 6]));
    let stuck = Traits { stays_in_reset: true, ..Traits::default() };
    assert_eq!(failure(stuck, &whole).0, Error::Reset(address()));
    for traits in [
        Traits { refuses_features: true, ..Traits::default() },
        Traits { refuses_vector: true, ..Traits::default() },
        Traits { notify_off: 1, ..Traits::default() },
        Traits { notify_off: u16::MAX - 1, ..Traits::default() },
    ] {
        assert_eq!(failure(traits, &whole).0, Error::Negotiation(address()));
    }
}

#[test]
fn structures_out_of_place_are_none() {
    for missing in 1..=4 {
        let some: Vec<_> = Model::structures().into_iter().filter(|s| s.0 != missing).collect();
        assert_eq!(failure(Traits::default(), &some).0, Error::NotModern(address()));
        for (offset, length) in [(BAR as u32 - 4, 8), (2, 0x38), (!3, 0x38), (0, 0)] {
            let mut bent = some.clone();
            bent.push((missing, offset, length));
            // Long enough for what is asked of some, but never inside and aligned.
            assert_eq!(failure(Traits::default(), &bent).0, Error::NotModern(address()));
        }
    }
}

#[test]
fn the_link_is_followed_by_message_and_by_pin() {
    for msi_x in [true, false] {
        let mut rig = Rig::start(4 << 20, Policy::Never, Traits::default(), msi_x);
        let interrupt = rig.nic.interrupt();
        assert!(rig.nic.link().up && rig.nic.arm());
        for up in [false, true, false] {
            rig.model.set_link(up);
            assert!(interrupt.take());
            assert!(rig.nic.arm());
            assert_eq!(rig.nic.link().up, up);
        }
    }
}

#[test]
fn a_link_change_beside_traffic_is_seen_when_the_traffic_ends() {
    let mut rig = Rig::new();
    assert!(rig.nic.arm());
    rig.model.receive(&frame(0, 60));
    rig.model.set_link(false);
    assert!(rig.nic.receive().is_some());
    rig.nic.flush();
    assert!(rig.nic.arm());
    assert!(rig.nic.arm());
    assert!(!rig.nic.link().up);
}

#[test]
fn a_reset_at_any_moment_leaves_a_device_that_works() {
    let mut rig = Rig::with(Traits { stalls_transmit: true, ..Traits::default() });
    for round in 0..20 {
        rig.model.receive(&frame(round, 60));
        while round % 3 == 0 && rig.nic.transmit_ready() {
            rig.queue(&frame(round, 60));
        }
        block_on(rig.nic.reset()).unwrap();
        assert_eq!((rig.taken(), rig.model.status()), (TAKEN, 0x0f));
        assert!(rig.nic.receive().is_none(), "what was on the way is gone");
        rig.queue(&frame(round, 61));
        rig.nic.flush();
        rig.model.transmit(false);
        assert_eq!(rig.model.take_sent(), [plain(frame(round, 61))]);
        assert!(rig.model.receive(&frame(round, 62)));
        assert_eq!(*rig.nic.receive().unwrap(), frame(round, 62));
        rig.nic.flush();
        assert!(rig.nic.arm() && rig.nic.link().up);
    }
    rig.model.set_traits(|traits| traits.stays_in_reset = true);
    assert_eq!(block_on(rig.nic.reset()), Err(ResetError::Stuck));
    assert_eq!(rig.taken(), 0);
    assert_eq!(block_on(rig.nic.reset()), Err(ResetError::Stopped));
}

#[test]
fn jumbo_frames_have_buffers_of_their_size_and_tags_are_refused() {
    let pool = fake::pool(8 << 20, Policy::Never);
    let settings = Settings { mtu: Mtu::MAX, ..Settings::default() };
    let (_machine, _, model, device) = plug(pool, Traits::default(), &Model::structures(), true);
    let mut nic = block_on(drivers::probe(device.clone(), pool, &settings)).unwrap();
    assert_eq!(nic.capabilities().max_frame, 9230);
    for number in 0..200 {
        assert!(model.receive(&frame(number, 9230)));
        assert_eq!(*nic.receive().unwrap(), frame(number, 9230));
        nic.flush();
    }
    drop(nic);
    let settings = Settings { vlan: VlanId::new(7), ..Settings::default() };
    let error = block_on(drivers::probe(device, pool, &settings)).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { setting: "vlan=", .. }));
    assert_eq!(pool.statistics().slots_free, pool.statistics().slots);
}
