//! The igb driver against a model of the device. What it shares with other families is tested by the same tests.

mod device;
#[path = "../gigabit/filtering.rs"]
mod filtering;
#[path = "../gigabit/long.rs"]
mod long;
#[path = "../gigabit/misbehaving.rs"]
mod misbehaving;
mod model;
mod queues;
#[path = "../gigabit/receiving.rs"]
mod receiving;
#[path = "../gigabit/resetting.rs"]
mod resetting;
#[path = "../gigabit/starting.rs"]
mod starting;
#[path = "../advanced/transmitter.rs"]
mod transmitter;
#[path = "../gigabit/transmitting.rs"]
mod transmitting;

use model::{Faults, Model};
use std::num::NonZeroU16;
use std::sync::Arc;
use transmitter::segments;
use unikernel::dma::{Policy, Pool, fake};
use unikernel::nic::{Nic, Queues, Settings};
use unikernel::pci::fake::{Card, Machine, Memory, Port};
use unikernel::pci::{Device, PciAddress};

const KIND: Kind = Kind;
const INTEL_82576: u16 = 0x10c9;
const INTEL_I350: u16 = 0x1521;

/// Receive and transmit descriptors of the driver.
const RING: usize = 512;
/// What a running driver has taken: 512 buffers, and two rings of 8 KiB.
const TAKEN: u32 = 512 + 4 + 4;

/// As the tests shared with other families have it.
struct Kind;

impl Kind {
    fn offers(&self) -> &'static [Offers] {
        &[Offers::MsiX, Offers::Msi, Offers::Pin]
    }

    fn speed(&self) -> u32 {
        1000
    }

    fn tells_when_dma_ends(&self) -> bool {
        true
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
    /// With a pool that a ring full of long packets fits in.
    fn new() -> Self {
        Self::with(16 << 20, Policy::Never, Offers::MsiX)
    }

    fn with(pool: usize, policy: Policy, offers: Offers) -> Self {
        let pool = fake::pool(pool, policy);
        Self::start(pool, plug(pool, Faults::default(), offers), &Settings::default())
    }

    fn of(settings: Settings) -> Self {
        let pool = fake::pool(8 << 20, Policy::Auto);
        Self::start(pool, plug(pool, Faults::default(), Offers::MsiX), &settings)
    }

    /// With several receive queues.
    fn with_queues(queues: u16, card: Card, is_i350: bool) -> Self {
        let pool = fake::pool(8 << 20, Policy::Never);
        let settings = Settings { queues: Queues::new(queues).unwrap(), ..Settings::default() };
        Self::start(pool, plug_card(pool, Faults::default(), card, is_i350), &settings)
    }

    fn start(
        pool: &'static Pool,
        (machine, port, model, device): (Machine, Port, Arc<Model>, Device),
        settings: &Settings,
    ) -> Self {
        let nic = drivers::probe(device, pool, settings).unwrap();
        model.connect(nic.interrupt());
        Self { machine, port, model, pool, nic }
    }

    fn free(&self) -> u32 {
        self.pool.statistics().slots_free
    }

    fn queue(&mut self, frame: &[u8]) {
        self.queue_for(frame, None);
    }

    /// Queues a packet for the device to cut.
    fn queue_segmented(&mut self, frame: &[u8], size: u16) {
        self.queue_for(frame, NonZeroU16::new(size));
    }

    fn queue_for(&mut self, frame: &[u8], segment: Option<NonZeroU16>) {
        let mut buffer = self.pool.transmit_buffer_of(frame.len()).unwrap();
        buffer[..frame.len()].copy_from_slice(frame);
        self.nic.transmit(buffer, frame.len(), segment);
    }
}

/// A model in the slot of a machine, and the device as enumeration finds it.
fn plug(
    pool: &'static Pool,
    faults: Faults,
    offers: Offers,
) -> (Machine, Port, Arc<Model>, Device) {
    let card = Card::new(0x8086, INTEL_82576, 0x0200);
    let card = match offers {
        Offers::MsiX => card.msi_x(3, 10),
        Offers::Msi => card.msi(),
        Offers::Pin => card.pin(10),
    };
    plug_card(pool, faults, card, false)
}

fn plug_card(
    pool: &'static Pool,
    faults: Faults,
    card: Card,
    is_i350: bool,
) -> (Machine, Port, Arc<Model>, Device) {
    let machine = Machine::new();
    let port = machine.root_port(4, 1, 0xfe80_0000..0xfea0_0000, 0..0);
    let model = Model::new(machine.clone(), pool.device(), faults, is_i350);
    let card = card.bar(0, 0x2_0000, 0, model.clone()).bar(3, 0x4000, 0, Memory::new(0x4000));
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
