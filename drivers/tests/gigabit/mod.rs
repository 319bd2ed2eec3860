//! A gigabit driver against a model of its device. Which one, the crate says: `KIND`.

mod filtering;
mod long;
mod misbehaving;
mod model;
mod nvm;
mod receiving;
mod resetting;
mod segments;
mod starting;
mod transmitting;

use crate::KIND;
use model::{Faults, Model};
use std::num::NonZeroU16;
use std::sync::Arc;
use unikernel::dma::{Policy, Pool, fake};
use unikernel::nic::{Nic, Settings};
use unikernel::pci::fake::{Card, Machine, Memory, Port};
use unikernel::pci::{Device, PciAddress};

/// Receive and transmit descriptors of the driver.
const RING: usize = 512;
/// What a running driver has taken: 512 buffers, and two rings of 8 KiB.
const TAKEN: u32 = 512 + 4 + 4;

/// The families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each crate has one kind")]
pub(crate) enum Kind {
    /// 82540EM.
    E1000,
    /// 82574L.
    E1000e,
}

impl Kind {
    fn device_id(self) -> u16 {
        match self {
            Kind::E1000 => 0x100e,
            Kind::E1000e => 0x10d3,
        }
    }

    /// Whether a register says that no more requests are under way.
    fn tells_when_dma_ends(self) -> bool {
        self == Kind::E1000e
    }

    /// Of its link, in Mbit/s.
    fn speed(self) -> u32 {
        1000
    }

    /// The kinds of interrupt there are, the driver's favourite first.
    fn offers(self) -> &'static [Offers] {
        match self {
            Kind::E1000 => &[Offers::Msi, Offers::Pin],
            Kind::E1000e => &[Offers::MsiX, Offers::Msi, Offers::Pin],
        }
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
        Self::with(8 << 20, Policy::Never, KIND.offers()[0])
    }

    fn of(settings: Settings) -> Self {
        Self::start(8 << 20, Policy::Auto, KIND.offers()[0], settings)
    }

    fn with(pool: usize, policy: Policy, offers: Offers) -> Self {
        Self::start(pool, policy, offers, Settings::default())
    }

    fn start(pool: usize, policy: Policy, offers: Offers, settings: Settings) -> Self {
        let pool = fake::pool(pool, policy);
        let (machine, port, model, device) = plug(pool, Faults::default(), offers);
        let nic = drivers::probe(device, pool, &settings).unwrap();
        let causes = match offers {
            Offers::MsiX => (1 << 20, 1 << 22),
            Offers::Msi | Offers::Pin => (1 << 7, 1 << 0),
        };
        model.connect(nic.interrupt(), causes);
        Self { machine, port, model, pool, nic }
    }

    fn free(&self) -> u32 {
        self.pool.statistics().slots_free
    }

    fn queue(&mut self, frame: &[u8]) {
        let mut buffer = self.pool.transmit_buffer_of(frame.len()).unwrap();
        buffer[..frame.len()].copy_from_slice(frame);
        self.nic.transmit(buffer, frame.len(), None);
    }

    /// Queues a packet for the device to cut.
    fn queue_segmented(&mut self, frame: &[u8], size: u16) {
        let mut buffer = self.pool.transmit_buffer_of(frame.len()).unwrap();
        buffer[..frame.len()].copy_from_slice(frame);
        self.nic.transmit(buffer, frame.len(), NonZeroU16::new(size));
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
    let card = Card::new(0x8086, KIND.device_id(), 0x0200).bar(0, 0x2_0000, 0, model.clone()).bar(
        3,
        0x4000,
        0,
        Memory::new(0x4000),
    );
    let card = match offers {
        Offers::MsiX => card.msi_x(3, 5),
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
