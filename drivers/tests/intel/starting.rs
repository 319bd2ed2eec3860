use super::*;
use drivers::Error;
use embassy_futures::block_on;
use model::MAC;
use unikernel::nic::Link;

pub(crate) fn probe(
    faults: Faults,
    set_up: impl FnOnce(&Model),
) -> (Result<Box<dyn Nic>, Error>, u32) {
    let pool = fake::pool(8 << 20, Policy::Never);
    let before = pool.statistics().slots_free;
    let (_machine, _port, model, device) = plug(pool, faults, family::OFFERS[0]);
    set_up(&model);
    let nic = block_on(drivers::probe(device, pool, &Settings::default()));
    (nic, before - pool.statistics().slots_free)
}

#[test]
fn it_starts_from_any_state() {
    let rig = Rig::new();
    assert_eq!(rig.nic.mac(), MAC);
    assert_eq!(rig.nic.link(), Link { up: true, speed: family::SPEED, full_duplex: true });
    assert!(rig.machine.is_bus_master(PciAddress::new(0, 1, 0, 0)));
    assert_eq!(rig.model.register(family::IMS), 0, "nobody has asked for interrupts yet");
    assert_eq!(rig.taken(), TAKEN);
}

#[test]
fn a_device_that_stays_in_reset_is_an_error() {
    let faults = Faults { stays_in_reset: true, ..Faults::default() };
    let (nic, taken) = probe(faults, |_| {});
    assert!(matches!(nic.err(), Some(Error::Reset(_))));
    assert_eq!(taken, 0);
}

#[test]
fn a_pool_too_small_names_the_remedy_and_keeps_its_memory() {
    let pool = fake::pool(512 << 10, Policy::Never);
    let (_machine, _port, _model, device) = plug(pool, Faults::default(), family::OFFERS[0]);
    let error = block_on(drivers::probe(device, pool, &Settings::default())).err().unwrap();
    assert!(error.to_string().contains("swiotlb="), "{error}");
    assert_eq!(pool.statistics().slots_free, pool.statistics().slots);
}

#[test]
fn an_unknown_device_is_named() {
    let machine = Machine::new();
    machine.add(3, 0, Card::new(0x8086, 0x1533, 0x0200));
    let device = machine.root().enumerate().devices.remove(0);
    assert!(drivers::is_nic(&device));
    let pool = fake::pool(1 << 20, Policy::Never);
    let error =
        block_on(drivers::probe(device, pool, &Settings::default())).err().unwrap().to_string();
    assert!(error.contains("8086:1533") && error.contains("0000:00:03.0"), "{error}");
}

#[test]
fn the_link_follows_its_interrupt() {
    let mut rig = Rig::new();
    assert!(rig.nic.arm());
    rig.model.set_link(false);
    assert!(rig.nic.interrupt().take());
    assert!(rig.nic.arm());
    assert_eq!(rig.nic.link(), Link::default());
    rig.model.set_link(true);
    assert!(rig.nic.arm());
    assert!(rig.nic.link().up);
    assert_eq!(rig.nic.statistics().interrupts, 2);
}

#[test]
fn a_link_that_came_without_an_interrupt_is_found() {
    let mut rig = Rig::new();
    rig.model.set_link(false);
    assert!(rig.nic.arm());
    assert!(!rig.nic.link().up);
    rig.model.set_link_silently(true);
    assert!(rig.nic.arm());
    assert!(rig.nic.link().up);
}
