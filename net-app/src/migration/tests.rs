//! A port of a fake machine, the capability in it, and NICs that come and go.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use embassy_futures::block_on;
use unikernel::dma::{RxBuffer, SLOT_SIZE, Stream, ToDevice, TxBuffer, fake};
use unikernel::irq::{self, Interrupt};
use unikernel::mmio::{Mmio, Width};
use unikernel::net::{Addressing, Addressing6, Config, Stack};
use unikernel::nic::{Capabilities, Link, ResetError, Statistics};
use unikernel::pci::fake::{Card, Machine, Memory};
use unikernel::pci::{Error, HostBridge, PciAddress, Root};

use super::*;
use crate::recorder::Recorder;

/// Where the capability is in the port's configuration space: behind all others.
const AT: u16 = 0xc0;
const LEN: u16 = 24;
const STATUS: usize = 6;
const CONTROL: usize = 8;
const EPOCH: usize = 12;
const ACK: usize = 16;
const LOGGING_BIT: u16 = 1;
const MOVED_BIT: u16 = 2;

/// A machine whose port, at device 1, has the migration capability.
#[derive(Clone)]
struct Capable {
    machine: Machine,
    registers: Arc<Mutex<[u8; LEN as usize]>>,
    /// The pointer that ended the list of capabilities.
    link: u16,
}

impl Capable {
    fn new(machine: &Machine) -> Self {
        let port = PciAddress::new(0, 0, 1, 0);
        let mut link = 0x34;
        while let next @ 1.. = machine.read(port, link, Width::Byte) as u16 {
            link = next + 1;
        }
        let mut registers = [0; LEN as usize];
        registers[..6].copy_from_slice(&[0x09, 0, LEN as u8, 2, 1, 3]);
        registers[EPOCH] = 1;
        Self { machine: machine.clone(), registers: Arc::new(Mutex::new(registers)), link }
    }

    fn status(&self, status: u16, epoch: u32) {
        let mut registers = self.registers.lock().unwrap();
        registers[STATUS..STATUS + 2].copy_from_slice(&status.to_le_bytes());
        registers[EPOCH..EPOCH + 4].copy_from_slice(&epoch.to_le_bytes());
    }

    fn get(&self, at: usize) -> u8 {
        self.registers.lock().unwrap()[at]
    }

    fn is_ours(function: PciAddress) -> bool {
        (function.bus(), function.device(), function.function()) == (0, 1, 0)
    }
}

impl HostBridge for Capable {
    fn read(&self, function: PciAddress, offset: u16, width: Width) -> u32 {
        if !Self::is_ours(function) {
            return self.machine.read(function, offset, width);
        }
        let byte = |at: u16| match at {
            AT..0xd8 => u32::from(self.get(usize::from(at - AT))),
            at if at == self.link => AT.into(),
            at => self.machine.read(function, at, Width::Byte),
        };
        (0..width as u16).fold(0, |value, i| value | byte(offset + i) << (8 * i))
    }

    fn write(&self, function: PciAddress, offset: u16, width: Width, value: u32) {
        if !Self::is_ours(function) || !(AT..AT + LEN).contains(&offset) {
            return self.machine.write(function, offset, width, value);
        }
        let at = usize::from(offset - AT);
        assert!(at == CONTROL || at >= ACK, "a write to a read-only register at {at}");
        let value = &value.to_le_bytes()[..width as usize];
        self.registers.lock().unwrap()[at..at + value.len()].copy_from_slice(value);
    }

    fn map(&self, address: u64, len: u64) -> Result<Mmio, Error> {
        self.machine.map(address, len)
    }
}

/// A NIC with nothing to say, which holds some of the pool until it is stopped.
struct QuietNic {
    ring: Vec<Stream<ToDevice>>,
    interrupt: Interrupt,
}

fn start(_: Device, pool: &'static Pool, _: &Settings) -> Result<Box<dyn Nic>, drivers::Error> {
    let slot = || pool.transmit_buffer()?.into_stream(SLOT_SIZE).ok();
    let ring = (0..16).map(|_| slot().expect("a slot")).collect();
    Ok(Box::new(QuietNic { ring, interrupt: irq::allocate().expect("an interrupt") }))
}

impl Nic for QuietNic {
    fn family(&self) -> &'static str {
        "quiet"
    }
    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, 1]
    }
    fn link(&self) -> Link {
        Link { up: true, speed: 1000, full_duplex: true }
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: 1514, ..Capabilities::default() }
    }
    fn receive(&mut self) -> Option<RxBuffer> {
        None
    }
    fn transmit_ready(&mut self) -> bool {
        true
    }
    fn transmit(&mut self, _: TxBuffer, _: usize, _: Option<NonZeroU16>) {}
    fn flush(&mut self) {}
    fn arm(&mut self) -> bool {
        true
    }
    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }
    fn accept_multicast(&mut self, _: &[[u8; 6]]) {}
    fn reset(&mut self) -> Result<(), ResetError> {
        Ok(())
    }
    fn gone(&self) -> bool {
        false
    }
    fn stop(&mut self) {
        self.ring.clear();
    }
    fn statistics(&mut self) -> Statistics {
        Statistics::default()
    }
}

fn nic() -> Card {
    Card::new(0x8086, 0x10d3, 0x0200).bar(0, 0x1000, 0, Memory::new(0x1000))
}

struct Fixture {
    machine: Machine,
    slot: unikernel::pci::fake::Port,
    capability: Option<Capable>,
    app: App,
    port: Port,
}

/// A machine with one port and a NIC in it, booted.
fn boot(policy: Policy, capable: bool) -> Fixture {
    let machine = Machine::new();
    let slot = machine.root_port(1, 1, 0xf000_0000..0xf010_0000, 0..0);
    machine.cold_plug(slot, nic(), 0xf000_0000);
    let capability = capable.then(|| Capable::new(&machine));
    let root = match &capability {
        Some(capable) => Root::new(Arc::new(capable.clone()), 0, 0..=255),
        None => machine.root(),
    };
    let topology = root.enumerate();
    let pool = fake::pool(1 << 20, policy);
    let config = Config {
        addressing: Addressing::Dhcp,
        gateway: None,
        addressing6: Addressing6::Off,
        seed: 1,
    };
    let app = App::new(Stack::new(pool, config), pool, Recorder::new(16));
    let nic = start(topology.devices[0].clone(), pool, &Settings::default()).expect("a NIC");
    assert!(app.stack().attach(nic).is_ok());
    let bridge = &topology.bridges[0];
    assert_eq!(has_capability(bridge), capable);
    let place = Place { holds: Some(Role::Primary), covered: capable };
    let port =
        Port::new(&app, bridge, place, start, Settings::default(), Detach::Asked).expect("a port");
    Fixture { machine, slot, capability, app, port }
}

impl Fixture {
    fn serve(&mut self) {
        block_on(self.port.serve());
    }

    fn status(&mut self, status: u16, epoch: u32) {
        self.capability.as_ref().expect("a capability").status(status, epoch);
        self.serve();
        assert_eq!(u32::from(self.capability().get(ACK)), epoch);
    }

    fn capability(&self) -> &Capable {
        self.capability.as_ref().expect("a capability")
    }

    fn has_nic(&self) -> bool {
        self.app.stack().with_nic(|_| ()).is_some()
    }

    fn free(&self) -> u32 {
        self.app.pool().statistics().slots_free
    }
}

#[test]
fn a_migration_seen_from_both_ends() {
    let mut guest = boot(Policy::Auto, true);
    let pool = guest.app.pool();
    assert_eq!(guest.capability().get(CONTROL), 0b11);
    guest.serve();
    assert_eq!(guest.capability().get(ACK), 1);
    assert!(!pool.is_marking() && guest.app.migration().capability);

    guest.status(LOGGING_BIT, 2);
    assert!(pool.is_marking() && guest.app.migration().logging);
    let free = guest.free();
    guest.machine.press(guest.slot);
    guest.serve();
    assert!(!guest.has_nic() && !guest.machine.is_populated(guest.slot));
    assert_eq!(guest.free(), free + 16);

    guest.status(MOVED_BIT, 3);
    assert!(!pool.is_marking());
    assert_eq!((guest.app.migration().moves, guest.app.migration().epoch), (1, 3));
    // The check waits for the NIC.
    assert!(!guest.app.check_is_requested());
    guest.machine.hot_plug(guest.slot, nic());
    guest.serve();
    assert!(guest.has_nic());
    assert_eq!(guest.free(), free);
    assert!(guest.app.check_is_requested());
}

#[test]
fn a_cancelled_migration_gives_the_nic_back() {
    let mut guest = boot(Policy::Auto, true);
    guest.status(LOGGING_BIT, 2);
    guest.machine.press(guest.slot);
    guest.serve();
    assert!(!guest.has_nic());
    guest.status(0, 3);
    assert!(guest.app.check_is_requested());
    assert_eq!(guest.app.migration().moves, 0);
    guest.machine.hot_plug(guest.slot, nic());
    guest.serve();
    assert!(guest.has_nic() && !guest.app.pool().is_marking());
    // And again.
    guest.status(LOGGING_BIT, 4);
    assert!(guest.app.pool().is_marking());
}

#[test]
fn a_nic_that_never_leaves_stays_however_often_it_is_asked_for() {
    let mut guest = boot(Policy::Auto, true);
    guest.port.detach = Detach::Never;
    guest.status(LOGGING_BIT, 2);
    for _ in 0..2 {
        guest.machine.press(guest.slot);
        guest.serve();
        assert!(guest.has_nic() && guest.machine.is_populated(guest.slot));
    }
    guest.status(0, 3);
    assert!(guest.has_nic() && !guest.app.pool().is_marking());
    guest.port.detach = Detach::Asked;
    guest.machine.press(guest.slot);
    guest.serve();
    assert!(!guest.has_nic());
    assert_eq!("perhaps".parse::<Detach>(), Err("possible values: asked, never"));
}

#[test]
fn the_check_does_not_wait_for_a_nic_for_ever() {
    let mut guest = boot(Policy::Auto, true);
    guest.serve();
    guest.machine.press(guest.slot);
    guest.serve();
    guest.status(MOVED_BIT, 2);
    assert!(!guest.app.check_is_requested());
    std::thread::sleep(core::time::Duration::from_millis(NIC_PATIENCE.as_millis() + 10));
    guest.serve();
    assert!(guest.app.check_is_requested());
}

#[test]
fn a_pulled_nic_is_let_go_and_the_next_one_taken() {
    let mut guest = boot(Policy::Auto, true);
    let free = guest.free();
    guest.machine.pull(guest.slot);
    guest.serve();
    assert!(!guest.has_nic());
    assert_eq!(guest.free(), free + 16);
    guest.machine.hot_plug(guest.slot, nic());
    guest.serve();
    assert!(guest.has_nic());
}

#[test]
fn what_is_no_nic_is_left_alone() {
    let mut guest = boot(Policy::Auto, true);
    guest.machine.press(guest.slot);
    guest.serve();
    let disk = Card::new(0x1b36, 0x0010, 0x0108).bar(0, 0x1000, 0, Memory::new(0x1000));
    guest.machine.hot_plug(guest.slot, disk);
    guest.serve();
    assert!(!guest.has_nic());
    guest.machine.press(guest.slot);
    guest.serve();
    assert!(!guest.machine.is_populated(guest.slot));
}

#[test]
fn without_a_capability_a_plugged_nic_is_marked_always() {
    let mut guest = boot(Policy::Auto, false);
    guest.machine.press(guest.slot);
    guest.serve();
    assert!(!guest.app.pool().is_marking());
    guest.machine.hot_plug(guest.slot, nic());
    // Another bridge's agent begins and ends meanwhile, which is not this NIC's business.
    guest.app.pool().start_marking();
    guest.serve();
    guest.app.pool().stop_marking();
    assert!(guest.app.pool().is_marking());
    assert!(!guest.app.migration().capability);
}

#[test]
fn marking_never_is_never_even_without_a_capability() {
    let guest = boot(Policy::Never, false);
    mark_always(guest.app.pool());
    assert!(!guest.app.pool().is_marking());
}
