//! The virtio-net driver against a model of the device; and what else is asked of virtio devices.

mod hostile;
mod iommu;
mod misbehaving;
mod model;
#[path = "../nic/mod.rs"]
mod nic;
mod receiving;
mod starting;
mod transmitting;

use embassy_futures::block_on;
use misbehaving::in_mid_traffic;
use model::{Model, Sent, Traits};
use nic::frame;
use std::sync::Arc;
use unikernel::dma::{Policy, Pool, fake};
use unikernel::nic::{Nic, Settings};
use unikernel::pci::Device;
use unikernel::pci::fake::{Machine, Memory, Port};

/// Descriptors in each of the driver's queues.
const QUEUE: usize = 256;
/// What a running driver has taken: 256 buffers, two queues of 4096 + 518 + 2054 bytes, and 128
/// headers.
const TAKEN: u32 = 256 + 2 * (2 + 1 + 2) + 1;

/// A started driver with everything around it.
struct Rig {
    machine: Machine,
    port: Port,
    model: Arc<Model>,
    pool: &'static Pool,
    nic: Box<dyn Nic>,
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
    fn new() -> Self {
        Self::with(Traits::default())
    }

    fn with(traits: Traits) -> Self {
        Self::start(4 << 20, Policy::Never, traits, true)
    }

    fn start(pool: usize, policy: Policy, traits: Traits, msi_x: bool) -> Self {
        let pool = fake::pool(pool, policy);
        let (machine, port, model, device) = plug(pool, traits, &Model::structures(), msi_x);
        let nic = block_on(drivers::probe(device, pool, &Settings::default())).unwrap();
        model.connect(Some(nic.interrupt()));
        let _connection = Connection(model.clone());
        Self { machine, port, model, pool, nic, _connection }
    }

    fn free(&self) -> u32 {
        self.pool.statistics().slots_free
    }

    fn taken(&self) -> u32 {
        self.pool.statistics().slots - self.free()
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
    traits: Traits,
    structures: &[(u8, u32, u32)],
    msi_x: bool,
) -> (Machine, Port, Arc<Model>, Device) {
    let machine = Machine::new();
    let port = machine.root_port(4, 1, 0xfe80_0000..0xfea0_0000, 0..0);
    let model = Model::new(machine.clone(), pool.device(), traits);
    let card = model.card(structures);
    let card =
        if msi_x { card.bar(1, 0x1000, 0, Memory::new(0x1000)).msi_x(1, 3) } else { card.pin(10) };
    machine.cold_plug(port, card, 0xfe80_0000);
    let device = machine.root().enumerate().devices.remove(0);
    (machine, port, model, device)
}

/// An IPv4 packet over UDP whose transport checksum is wrong.
fn datagram() -> Vec<u8> {
    let mut frame = vec![0; 14];
    frame[12] = 8;
    frame.extend([0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0x62, 0xbd]);
    frame.extend([10, 0, 2, 2, 10, 0, 2, 15, 1, 2, 3, 4, 0, 12, 0xba, 0xad, 1, 2, 3, 4]);
    frame
}

/// As sent without any offload.
fn plain(frame: Vec<u8>) -> Sent {
    Sent { header: [0; 12], frame }
}
