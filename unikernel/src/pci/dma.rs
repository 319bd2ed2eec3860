use core::ops::{Deref, DerefMut};

use super::Device;

/// Memory that a function may reach, and the function's right to reach any: [`Device::start_dma`].
///
/// The right ends before the memory is given back, whatever way this is dropped. So a driver that
/// keeps its rings and buffers here cannot free memory that its device still writes.
#[must_use = "dropping it ends the function's access to memory"]
pub struct Dma<M> {
    // In this order: fields are dropped from the first to the last.
    _bus_master: BusMaster,
    memory: M,
}

impl Device {
    /// Lets the function read and write memory, for DMA and message-signalled interrupts, until
    /// what this returns is stopped or dropped. `memory` is what the function will be told of.
    pub fn start_dma<M>(&self, memory: M) -> Dma<M> {
        self.enable_bus_master();
        Dma { _bus_master: BusMaster(self.clone()), memory }
    }
}

impl<M> Dma<M> {
    /// Ends the function's access to memory and returns what it had.
    pub fn stop(self) -> M {
        self.memory
    }
}

impl<M> Deref for Dma<M> {
    type Target = M;

    #[inline]
    fn deref(&self) -> &M {
        &self.memory
    }
}

impl<M> DerefMut for Dma<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M {
        &mut self.memory
    }
}

struct BusMaster(Device);

impl Drop for BusMaster {
    fn drop(&mut self) {
        self.0.disable_bus_master();
    }
}
