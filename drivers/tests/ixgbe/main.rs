//! The ixgbe driver against a model of the device. What it shares with the gigabit families is tested by the same tests.

#[path = "../gigabit/misbehaving.rs"]
mod misbehaving;
mod model;
#[path = "../gigabit/nvm.rs"]
mod nvm;
#[path = "../gigabit/receiving.rs"]
mod receiving;
mod settings;
#[path = "../gigabit/starting.rs"]
mod starting;
#[path = "../advanced/transmitter.rs"]
mod transmitter;
#[path = "../gigabit/transmitting.rs"]
mod transmitting;

use model::{Faults, Model};
use std::sync::Arc;
use unikernel::dma::{Policy, Pool, fake};
use unikernel::nic::{Nic, Settings};
use unikernel::pci::fake::{Card, Machine, Memory, Port};
use unikernel::pci::{Device, PciAddress};

const KIND: Kind = Kind;

/// Receive and transmit descriptors of the driver.
const RING: usize = 512;
/// What a running driver has taken: 512 buffers, and two rings of 8 KiB.
const TAKEN: u32 = 512 + 4 + 4;

/// As the gigabit families have it.
struct Kind;

impl Kind {
    fn offers(&self) -> &'static [Offers] {
        &[Offers::MsiX, Offers::Msi, Offers::Pin]
    }

    fn speed(&self) -> u32 {
        10_000
    }
}

/// A started driver with everything around it.
struct Rig {
    machine: Machine,
    port: Port,
    model: Arc<Model>,
    pool: &'static Pool,
    nic: Box<dyn Nic>,
}

/// The kinds of interrupt a card may offer.
#[derive(Clone, Copy)]
enum Offers {
    MsiX,
    Msi,
    Pin,
}

impl Rig {
    fn new() -> Self {
        Self::with(8 << 20, Policy::Never, Offers::MsiX)
    }

    fn with(pool: usize, policy: Policy, offers: Offers) -> Self {
        Self::start(pool, policy, offers, &Settings::default())
    }

    fn set(settings: &Settings) -> Self {
        Self::start(8 << 20, Policy::Never, Offers::MsiX, settings)
    }

    fn start(pool: usize, policy: Policy, offers: Offers, settings: &Settings) -> Self {
        let pool = fake::pool(pool, policy);
        let (machine, port, model, device) = plug(pool, Faults::default(), offers);
        let nic = drivers::probe(device, pool, settings).unwrap();
        model.connect(nic.interrupt());
        Self { machine, port, model, pool, nic }
    }

    fn free(&self) -> u32 {
        self.pool.statistics().slots_free
    }

    fn queue(&mut self, frame: &[u8]) {
        let mut buffer = self.pool.transmit_buffer().unwrap();
        buffer[..frame.len()].copy_from_slice(frame);
        self.nic.transmit(buffer, frame.len(), None);
    }
}

/// A model in the slot of a machine, and the device as enumeration finds it.
fn plug(
    pool: &'static Pool,
    faults: Faults,
    offers: Offers,
) -> (Machine, Port, Arc<Model>, Device) {
    let machine = Machine::new();
    let port = machine.root_port(4, 1, 0xfe80_0000..0xfea0_0000, 0..0);
    let model = Model::new(machine.clone(), pool.device(), faults);
    let card = Card::new(0x8086, 0x10fb, 0x0200).bar(0, 0x8_0000, 0, model.clone()).bar(
        4,
        0x4000,
        0,
        Memory::new(0x4000),
    );
    let card = match offers {
        Offers::MsiX => card.msi_x(4, 64),
        Offers::Msi => card.msi(),
        Offers::Pin => card.pin(10),
    };
    machine.cold_plug(port, card, 0xfe80_0000);
    let device = machine.root().enumerate().devices.remove(0);
    assert_eq!(device.address(), PciAddress::new(0, 1, 0, 0));
    (machine, port, model, device)
}

/// A frame of `len` bytes that no two numbers share, of no protocol the driver knows.
fn frame(number: usize, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| (i * 7 + number) as u8).collect();
    frame[..6].copy_from_slice(&model::MAC);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..22].copy_from_slice(&(number as u64).to_le_bytes());
    frame
}
