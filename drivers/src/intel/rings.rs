//! The rings of a driver: how many, and how long.

use super::{Hardware, ReceiveRing, TransmitRing, buffer_size};
use alloc::vec::Vec;
use unikernel::dma::{self, Pool};
use unikernel::nic::Settings;

/// Descriptors in a ring. At gigabit speed 512 full frames are 6 ms of traffic: what the driver may
/// be late. Several receive queues share them.
const DESCRIPTORS: usize = 512;
/// Receive descriptors that a queue has in any case.
const FEWEST: usize = 128;
/// Memory that receive buffers may take unless that makes a ring too short.
const BUFFERS: usize = 1 << 20;
/// Descriptors start on 16-byte boundaries, on 128-byte ones with some, and come in multiples of
/// 128 bytes (RDLEN).
const RING_ALIGN: usize = 128;

/// All rings of a device, with their buffers.
pub(super) struct Rings<H: Hardware> {
    /// One for each queue.
    pub(super) receive: Vec<ReceiveRing<H::Receive>>,
    pub(super) transmit: TransmitRing<H::Transmit>,
}

impl<H: Hardware> Rings<H> {
    pub(super) fn new(pool: &'static Pool, settings: &Settings) -> Result<Self, dma::Error> {
        let queues = settings.queues.get().min(H::QUEUES);
        let count = (BUFFERS / buffer_size(settings)).min(DESCRIPTORS) / queues;
        let count = (count.max(FEWEST) + 1).next_power_of_two() / 2;
        let receive = || ReceiveRing::new(pool, count, RING_ALIGN, settings);
        Ok(Self {
            receive: (0..queues).map(|_| receive()).collect::<Result<_, _>>()?,
            transmit: TransmitRing::new(pool, DESCRIPTORS, RING_ALIGN)?,
        })
    }

    pub(super) fn restart(&mut self) {
        self.receive.iter_mut().for_each(ReceiveRing::restart);
        self.transmit.restart();
    }
}
