//! The device as a driver sees it: registers, rings in memory, and a wire.

mod function;
mod receiving;
mod transmitting;

use std::{
    io::Read,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::{device::Device, packet::samples, registers as reg, wire};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Where things are in the driver's memory.
const RING: u64 = 0x1_0000;
const BUFFERS: u64 = 0x2_0000;
const MEMORY: u64 = 0x20_0000;
const DESCRIPTORS: u32 = 8;
/// A receive buffer.
const BUFFER: u64 = 2048;

/// A device with a driver that does as it is told, and a peer.
struct Bench {
    device: Device,
    peer: UnixStream,
}

impl Bench {
    fn new() -> Self {
        let mut device = Device::new(MAC);
        let file = tempfile::tempfile().unwrap();
        file.set_len(MEMORY).unwrap();
        device.host.memory.map(0, MEMORY, file, 0).unwrap();
        device.host.bus_master = true;
        let (here, there) = UnixStream::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        here.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        device.port.connect(Some(there));
        Self { device, peer: here }
    }

    /// A queue's ring at [`RING`] plus `at`, enabled.
    fn ring(&mut self, register: impl Fn(u32) -> u32, at: u64) {
        self.device.write(register(reg::BAL), (RING + at) as u32);
        self.device.write(register(reg::LEN), DESCRIPTORS * 16);
        self.device.write(register(reg::DCTL), reg::DCTL_ENABLE);
    }

    fn set(&mut self, offset: u32, bits: u32) {
        let value = self.device.read(offset);
        self.device.write(offset, value | bits);
    }

    fn put(&self, at: u64, values: [u64; 2]) {
        for (index, value) in values.into_iter().enumerate() {
            self.device.host.memory.write(at + 8 * index as u64, &value.to_le_bytes()).unwrap();
        }
    }

    fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.device.host.memory.read(at, &mut bytes).unwrap();
        bytes
    }

    /// What the peer got.
    fn frames(&mut self) -> Vec<Vec<u8>> {
        self.device.settle(Instant::now());
        let mut stream = Vec::new();
        let _ = self.peer.read_to_end(&mut stream);
        let mut frames = Vec::new();
        let whole = wire::split(&stream, |frame| frames.push(frame.to_vec())).unwrap();
        assert_eq!(whole, stream.len());
        frames
    }
}
