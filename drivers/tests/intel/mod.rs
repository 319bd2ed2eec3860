//! What all Intel families do, against a model of the device. What is the crate's family's own is
//! in `crate::family`.

mod accesses;
mod datasheet;
mod filtering;
mod hostile;
mod long;
mod misbehaving;
pub(crate) mod model;
#[path = "../nic/mod.rs"]
mod nic;
mod receiving;
mod resetting;
pub(crate) mod segments;
pub(crate) mod starting;
mod transmitting;

use crate::family;
use embassy_futures::block_on;
use misbehaving::in_mid_traffic;
pub(crate) use model::{Faults, Model};
pub(crate) use nic::frame;
use std::num::NonZeroU16;
pub(crate) use std::sync::Arc;
use unikernel::dma::{Policy, Pool, fake};
use unikernel::nic::{Nic, Settings};
use unikernel::pci::fake::{Card, Machine, Memory, Port};
use unikernel::pci::{Device, PciAddress};

/// Receive and transmit descriptors of the driver.
const RING: usize = 512;
/// What a running driver has taken: 512 buffers, and two rings of 8 KiB.
const TAKEN: u32 = 512 + 4 + 4;
/// A pool that a ring full of long packets fits in.
pub(crate) const POOL: usize = 16 << 20;

/// The kinds of interrupt a card may offer.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every family has MSI-X")]
pub(crate) enum Offers {
    MsiX,
    Msi,
    Pin,
}

/// A started driver with everything around it.
pub(crate) struct Rig {
    pub(crate) machine: Machine,
    port: Port,
    pub(crate) model: Arc<Model>,
    pub(crate) pool: &'static Pool,
    pub(crate) nic: Box<dyn Nic>,
    _connection: Connection,
}

/// Gives the interrupt back, of which there are only so many: the model and its machine have each
/// other, and stay.
struct Connection(Arc<Model>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connect(None);
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(POOL, Policy::Never, family::OFFERS[0])
    }

    pub(crate) fn of(settings: Settings) -> Self {
        Self::of_card(card(family::OFFERS[0]), settings)
    }

    pub(crate) fn of_card(card: Card, settings: Settings) -> Self {
        let pool = fake::pool(POOL, Policy::Auto);
        Self::start(pool, plug_card(pool, Faults::default(), card), &settings)
    }

    fn with(pool: usize, policy: Policy, offers: Offers) -> Self {
        let pool = fake::pool(pool, policy);
        Self::start(pool, plug(pool, Faults::default(), offers), &Settings::default())
    }

    fn start(
        pool: &'static Pool,
        (machine, port, model, device): (Machine, Port, Arc<Model>, Device),
        settings: &Settings,
    ) -> Self {
        let nic = block_on(drivers::probe(device, pool, settings)).unwrap();
        model.connect(Some(nic.interrupt()));
        let _connection = Connection(model.clone());
        Self { machine, port, model, pool, nic, _connection }
    }

    pub(crate) fn free(&self) -> u32 {
        self.pool.statistics().slots_free
    }

    /// What the driver and those who keep its frames have of the pool.
    pub(crate) fn taken(&self) -> u32 {
        self.pool.statistics().slots - self.free()
    }

    pub(crate) fn queue(&mut self, frame: &[u8]) {
        self.queue_for(frame, None);
    }

    /// Queues a packet for the device to cut.
    fn queue_segmented(&mut self, frame: &[u8], size: u16) {
        self.queue_for(frame, NonZeroU16::new(size));
    }

    /// Queues for as long as there is room, one frame after the other; how many.
    fn fill(&mut self, mut queue: impl FnMut(&mut Self, usize)) -> usize {
        for queued in 0..RING {
            if !self.nic.transmit_ready() {
                return queued;
            }
            queue(self, queued);
        }
        panic!("a ring of {RING} descriptors has room for more frames than that");
    }

    fn queue_for(&mut self, frame: &[u8], segment: Option<NonZeroU16>) {
        let mut buffer = self.pool.transmit_buffer_of(frame.len()).unwrap();
        buffer[..frame.len()].copy_from_slice(frame);
        self.nic.transmit(buffer, frame.len(), segment);
    }
}

pub(crate) fn card(offers: Offers) -> Card {
    let card = Card::new(0x8086, family::DEVICE, 0x0200);
    let (bar, entries) = family::MSI_X;
    match offers {
        Offers::MsiX => card.msi_x(bar, entries),
        Offers::Msi => card.msi(),
        Offers::Pin => card.pin(10),
    }
}

/// A model in the slot of a machine, and the device as enumeration finds it.
pub(crate) fn plug(
    pool: &'static Pool,
    faults: Faults,
    offers: Offers,
) -> (Machine, Port, Arc<Model>, Device) {
    plug_card(pool, faults, card(offers))
}

fn plug_card(
    pool: &'static Pool,
    faults: Faults,
    card: Card,
) -> (Machine, Port, Arc<Model>, Device) {
    let machine = Machine::new();
    let port = machine.root_port(4, 1, 0xfe80_0000..0xfea0_0000, 0..0);
    let model = Model::new(machine.clone(), pool.device(), faults);
    let card = card.bar(0, family::BAR, 0, model.clone());
    let card = card.bar(family::MSI_X.0, 0x4000, 0, Memory::new(0x4000));
    machine.cold_plug(port, card, 0xfe80_0000);
    let device = machine.root().enumerate().devices.remove(0);
    assert_eq!(device.address(), PciAddress::new(0, 1, 0, 0));
    (machine, port, model, device)
}
