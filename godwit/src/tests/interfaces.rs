use std::future::Future;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer, with_timeout};
use unikernel::cmdline::CommandLine;
use unikernel::dma::{Policy, fake};
use unikernel::pci::fake::{Card, Machine, Port};

use super::nic::{card, probe, standby, started};
use crate::{Interface, System};

/// A machine with three slots.
struct Fixture {
    machine: Machine,
    slots: [Port; 3],
    system: System,
}

impl Fixture {
    fn new(line: &'static str) -> Self {
        let machine = Machine::new();
        let slots = [1, 2, 3].map(|slot| machine.root_port(slot, slot, window(slot), 0..0));
        let pool = fake::pool(1 << 20, Policy::Auto);
        let system = System::new(pool, CommandLine::new(line), probe);
        started();
        Self { machine, slots, system }
    }

    /// Has a card in a slot when the machine boots.
    fn with(self, slot: usize, card: Card) -> Self {
        let base = window(slot as u8 + 1).start;
        self.machine.cold_plug(self.slots[slot], card, base);
        self
    }

    /// Boots, and does `then` while the machine runs.
    fn boot<T>(&self, then: impl Future<Output = T>) -> T {
        let devices = async {
            self.system.take_over([self.machine.root()]).await;
            then.await
        };
        let both = select(self.system.run(core::future::pending::<()>()), devices);
        match futures_executor::block_on(both) {
            Either::First(()) => unreachable!("nobody switches the machine off"),
            Either::Second(result) => result,
        }
    }

    /// Takes the NIC out of a slot, as a hypervisor does.
    async fn eject(&self, slot: usize) {
        self.machine.press(self.slots[slot]);
        until(|| !self.machine.is_populated(self.slots[slot])).await;
    }
}

fn window(slot: u8) -> core::ops::Range<u32> {
    let start = 0xf000_0000 + u32::from(slot) * 0x20_0000;
    start..start + 0x10_0000
}

async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            Timer::after(Duration::from_millis(1)).await;
        }
    };
    with_timeout(Duration::from_secs(20), wait).await.expect("it to be so in time");
}

fn mac(interface: &Interface) -> Option<u8> {
    interface.nic().map(|nic| nic.mac.0[5])
}

#[test]
fn each_nic_has_an_interface_with_keys_of_its_own() {
    let line = "ip=10.9.0.2/24 nic1.ip=10.9.1.2/24 nic1.mtu=9000";
    let guest = Fixture::new(line).with(0, card(1)).with(1, card(2));
    guest.boot(async {
        let first = guest.system.interface(0).await;
        let second = guest.system.interface(1).await;
        assert_eq!((mac(&first), mac(&second)), (Some(1), Some(2)));
        assert_eq!(started(), [(1, 1500), (2, 9000)]);
        let address = |interface: &Interface| interface.ipv4().unwrap().address;
        assert_eq!(address(&first).to_string(), "10.9.0.2/24");
        assert_eq!(address(&second).to_string(), "10.9.1.2/24");
        second.ready().await;
    });
    assert_eq!(guest.system.interfaces().len(), 2);
}

#[test]
fn a_primary_and_a_standby_with_one_address_share_an_interface() {
    // The standby comes first on the bus, and the settings are those of the interface they share.
    let guest = Fixture::new("mtu=9000 nic1.mtu=1400");
    let guest = guest.with(0, standby(1)).with(1, card(1)).with(2, card(3));
    guest.boot(async {
        let pair = guest.system.interface(0).await;
        pair.wait_for_nic(|nic| !nic.is_standby).await;
        assert_eq!(guest.system.interfaces().len(), 2);
        assert_eq!(started(), [(1, 9000), (1, 1400), (1, 9000), (3, 1400)]);

        guest.eject(1).await;
        assert!(pair.nic().is_some_and(|nic| nic.is_standby));
        guest.machine.hot_plug(guest.slots[1], card(1));
        pair.wait_for_nic(|nic| !nic.is_standby).await;
        // It was known by then which interface the slot's NIC serves.
        assert_eq!(started(), [(1, 9000)]);
    });
}

#[test]
fn nics_come_back_to_their_interfaces_in_any_order() {
    let guest = Fixture::new("").with(0, card(1)).with(1, card(2));
    guest.boot(async {
        let interfaces = [guest.system.interface(0).await, guest.system.interface(1).await];
        guest.eject(0).await;
        guest.eject(1).await;
        assert_eq!([0, 1].map(|n| mac(&interfaces[n])), [None, None]);
        // By station address, wherever it is plugged now …
        guest.machine.hot_plug(guest.slots[0], card(2));
        interfaces[1].wait_for_nic(|nic| nic.mac.0[5] == 2).await;
        // … and whoever is left over is for the interface that has none.
        guest.machine.hot_plug(guest.slots[2], card(7));
        interfaces[0].wait_for_nic(|nic| nic.mac.0[5] == 7).await;
        assert_eq!(guest.system.interfaces().len(), 2);
    });
}

#[test]
fn another_nic_in_the_same_slot_serves_the_same_interface() {
    let guest = Fixture::new("").with(0, card(1)).with(1, card(2));
    guest.boot(async {
        let interfaces = [guest.system.interface(0).await, guest.system.interface(1).await];
        guest.eject(0).await;
        guest.eject(1).await;
        guest.machine.hot_plug(guest.slots[1], card(8));
        interfaces[1].wait_for_nic(|nic| nic.mac.0[5] == 8).await;
        assert_eq!(mac(&interfaces[0]), None);
    });
}

#[test]
fn a_nic_that_nobody_waits_for_is_a_new_interface() {
    let guest = Fixture::new("nic1.mtu=9000").with(0, card(1));
    guest.boot(async {
        guest.system.interface(0).await;
        guest.machine.hot_plug(guest.slots[2], card(2));
        let second = guest.system.interface(1).await;
        assert_eq!((second.index(), mac(&second)), (1, Some(2)));
        assert_eq!(started(), [(1, 1500), (2, 9000)]);
    });
}

#[test]
fn a_quiesced_nic_leaves_its_station_address_to_the_one_that_follows() {
    use migrate_agent::{Nics, Why};
    let guest = Fixture::new("nic1.mtu=9000").with(0, card(1)).with(1, card(2));
    guest.boot(async {
        let interfaces = [guest.system.interface(0).await, guest.system.interface(1).await];
        started();
        let nics = guest.system.nics();
        // The slots are those of buses 1 and 2; the machine moves to where other cards are.
        nics.release(|_| true, Why::Quiesced).await;
        for (slot, other) in [(1, 8), (0, 7)] {
            guest.eject(slot).await;
            guest.machine.hot_plug(guest.slots[slot], card(other));
        }
        until(|| interfaces.iter().all(|interface| interface.nic().is_some())).await;
        assert_eq!([0, 1].map(|n| mac(&interfaces[n])), [Some(1), Some(2)]);
        let mut started = started();
        started.sort_unstable();
        assert_eq!(started, [(7, 1500), (8, 9000)], "known before they were started");
    });
}
