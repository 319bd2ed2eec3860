//! A port of a fake machine, the capability in it, and NICs that come and go.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use embassy_futures::block_on;
use unikernel::dma::{Policy, Pool, fake};
use unikernel::mmio::{Mmio, Width};
use unikernel::pci::fake::{Card, Machine, Memory};
use unikernel::pci::{Device, Error, HostBridge, PciAddress, Root};

use crate::{Attached, BridgeService, Detach, Facts, Migration, Nics, Service, State, Why};

/// Where the capability is in the port's configuration space: behind all others.
const AT: u16 = 0xc0;
const LEN: u16 = 24;
const STATUS: usize = 6;
const CONTROL: usize = 8;
const DEFINED_BY: usize = 10;
const EPOCH: usize = 12;
const ACK: usize = 16;
const LOGGING_BIT: u16 = 1;
const MOVED_BIT: u16 = 2;
const QUIESCE_BIT: u16 = 4;

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
        registers[..6].copy_from_slice(&[0x09, 0, LEN as u8, 2, 2, 3]);
        registers[DEFINED_BY..DEFINED_BY + 2].copy_from_slice(&0x1b36_u16.to_le_bytes());
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

/// Ethernet controllers; whoever owns the NICs takes no others.
const ETHERNET: u16 = 0x0200;

/// The owner of the NICs: notes where they are.
#[derive(Clone, Default)]
struct Owner(Rc<RefCell<Known>>);

#[derive(Default)]
struct Known {
    nics: Vec<PciAddress>,
    announced: usize,
    released: Option<Why>,
}

impl Nics for Owner {
    async fn attach(&self, device: Device) -> Option<Attached> {
        if device.class() != ETHERNET {
            return None;
        }
        self.0.borrow_mut().nics.push(device.address());
        Some(Attached { is_logged: false })
    }

    async fn release(&self, below: impl Fn(PciAddress) -> bool, why: Why) {
        let mut known = self.0.borrow_mut();
        known.nics.retain(|&nic| !below(nic));
        known.released = Some(why);
    }

    fn announce(&self) {
        self.0.borrow_mut().announced += 1;
    }

    async fn drain(&self) {}
}

fn nic() -> Card {
    Card::new(0x8086, 0x10d3, ETHERNET).bar(0, 0x1000, 0, Memory::new(0x1000))
}

struct Fixture {
    machine: Machine,
    slot: unikernel::pci::fake::Port,
    capability: Option<Capable>,
    pool: &'static Pool,
    owner: Owner,
    migration: Migration,
    service: BridgeService<Owner>,
}

/// A machine with one port and a NIC in it, booted.
fn boot(policy: Policy, capable: bool, detach: Detach) -> Fixture {
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
    assert_eq!(crate::has_capability(&topology.bridges[0]), capable);
    let (owner, migration) = (Owner::default(), Migration::new());
    let service = Service::new(owner.clone(), pool, migration.clone(), detach);
    let mut bridges = block_on(service.take_over(&topology));
    let service = bridges.pop().expect("a bridge with a slot");
    assert!(bridges.is_empty());
    Fixture { machine, slot, capability, pool, owner, migration, service }
}

impl Fixture {
    fn serve(&mut self) {
        block_on(self.service.serve());
    }

    fn status(&mut self, status: u16, epoch: u32) {
        self.capability().status(status, epoch);
        self.serve();
        assert_eq!(u32::from(self.capability().get(ACK)), epoch);
    }

    fn press(&mut self) {
        self.machine.press(self.slot);
        self.serve();
    }

    fn plug(&mut self, card: Card) {
        self.machine.hot_plug(self.slot, card);
        self.serve();
    }

    fn capability(&self) -> &Capable {
        self.capability.as_ref().expect("a capability")
    }

    fn has_nic(&self) -> bool {
        !self.owner.0.borrow().nics.is_empty()
    }

    fn is_populated(&self) -> bool {
        self.machine.is_populated(self.slot)
    }

    fn state(&self) -> State {
        self.migration.state()
    }
}

#[test]
fn a_migration_seen_from_both_ends() {
    let mut guest = boot(Policy::Auto, true, Detach::Asked);
    assert_eq!(guest.capability().get(CONTROL), 0b11);
    guest.serve();
    assert_eq!(guest.capability().get(ACK), 1);
    assert!(!guest.pool.is_marking() && guest.has_nic());
    assert_eq!(guest.state(), State::Running);

    guest.status(LOGGING_BIT, 2);
    assert!(guest.pool.is_marking());
    assert_eq!(guest.state(), State::WarmUp);
    guest.status(LOGGING_BIT | QUIESCE_BIT, 3);
    assert_eq!(guest.state(), State::Leaving);
    assert_eq!(guest.owner.0.borrow().released, Some(Why::Quiesced));
    assert!(!guest.has_nic() && guest.is_populated(), "it stays where it is");
    assert_eq!(guest.owner.0.borrow().announced, 0);

    guest.machine.reset(guest.slot);
    guest.status(MOVED_BIT, 4);
    assert!(!guest.pool.is_marking());
    assert_eq!(guest.state(), State::Arrived { moves: 1 });
    let facts = Facts { capability: true, logging: false, epoch: 4, moves: 1 };
    assert_eq!(guest.migration.facts(), facts);
    assert_eq!(guest.owner.0.borrow().announced, 1);
    assert!(guest.has_nic());
}

#[test]
fn a_cancelled_migration_gives_the_nic_back() {
    let mut guest = boot(Policy::Auto, true, Detach::Asked);
    guest.status(LOGGING_BIT, 2);
    guest.status(LOGGING_BIT | QUIESCE_BIT, 3);
    assert!(!guest.has_nic());
    guest.machine.reset(guest.slot);
    guest.status(LOGGING_BIT, 4);
    assert!(guest.has_nic() && guest.pool.is_marking(), "for as long as there is a log");
    assert_eq!(guest.state(), State::WarmUp);
    guest.status(0, 5);
    assert_eq!(guest.state(), State::Running);
    assert!(guest.has_nic() && !guest.pool.is_marking());
    // And again.
    guest.status(LOGGING_BIT, 6);
    assert!(guest.pool.is_marking());
    assert_eq!(guest.state(), State::WarmUp);
}

#[test]
fn a_nic_that_never_leaves_stays_however_often_it_is_asked_for() {
    let mut guest = boot(Policy::Auto, true, Detach::Never);
    guest.status(LOGGING_BIT, 2);
    for _ in 0..2 {
        guest.press();
        assert!(guest.has_nic() && guest.is_populated());
        assert_eq!(guest.state(), State::WarmUp);
    }
    guest.capability().status(LOGGING_BIT | QUIESCE_BIT, 3);
    guest.serve();
    assert_eq!(guest.capability().get(ACK), 2, "that would be a lie");
    assert!(guest.has_nic());
    guest.status(0, 4);
    assert!(guest.has_nic() && !guest.pool.is_marking());
    assert_eq!("perhaps".parse::<Detach>(), Err("possible values: asked, never"));
}

#[test]
fn a_nic_that_leaves_while_nobody_migrates_is_no_migration() {
    let mut guest = boot(Policy::Auto, true, Detach::Asked);
    guest.serve();
    guest.press();
    assert!(!guest.has_nic());
    assert_eq!(guest.state(), State::Running);
}

#[test]
fn a_pulled_nic_is_detached_and_the_next_one_attached() {
    let mut guest = boot(Policy::Auto, true, Detach::Asked);
    guest.machine.pull(guest.slot);
    guest.serve();
    assert!(!guest.has_nic());
    guest.plug(nic());
    assert!(guest.has_nic());
}

#[test]
fn what_is_no_nic_is_left_alone() {
    let mut guest = boot(Policy::Auto, true, Detach::Asked);
    guest.press();
    let disk = Card::new(0x1b36, 0x0010, 0x0108).bar(0, 0x1000, 0, Memory::new(0x1000));
    guest.plug(disk);
    assert!(!guest.has_nic());
    guest.press();
    assert!(!guest.is_populated());
}

#[test]
fn without_a_capability_a_nic_is_marked_always() {
    let mut guest = boot(Policy::Auto, false, Detach::Asked);
    assert!(guest.pool.is_marking(), "the one that was there at boot");
    guest.press();
    guest.plug(nic());
    // Another bridge's agent begins and ends meanwhile, which is not this NIC's business.
    guest.pool.start_marking();
    guest.pool.stop_marking();
    assert!(guest.pool.is_marking());
    assert_eq!(guest.migration.facts(), Facts::default());
}

#[test]
fn marking_never_is_never_even_without_a_capability() {
    let guest = boot(Policy::Never, false, Detach::Asked);
    assert!(guest.has_nic() && !guest.pool.is_marking());
}
