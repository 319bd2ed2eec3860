//! The driver: what is the same for all families. What a family does to registers is its
//! [`Hardware`].
//!
//! Receive buffers are used in place, one for each frame: they hold any frame that the interface's
//! MTU allows. Nothing per packet touches a register; a batch costs a tail write in each direction,
//! and a wake-up four accesses more.

use super::hardware::{Hardware, Trouble};
use super::retry::Retry;
use super::rings::Rings;
use super::{ReceiveRing, Table, buffer_size};
use crate::common::Offload;
use crate::error::Error;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use embassy_futures::block_on;
use unikernel::dma::{MAX_RUN, Pool, RxBuffer, TxBuffer};
use unikernel::irq::Interrupt;
use unikernel::nic::{
    BATCH, Batch, Capabilities, Checksums, Link, LocalBoxFuture, Nic, ResetError, Segmentation,
    Settings, Statistics,
};
use unikernel::pci::{self, Device, Dma, Vector};

/// The driver of one device.
pub(crate) struct Driver<H: Hardware> {
    device: Device,
    hardware: H,
    pool: &'static Pool,
    settings: Settings,
    groups: Vec<[u8; 6]>,
    vector: Vector,
    /// The vector is. Not until there is a reason to wait for it: that takes a hypervisor a while,
    /// and a machine that has just moved has its address to announce.
    is_enabled: bool,
    /// `None` once stopped.
    rings: Option<Dma<Rings<H>>>,
    /// It has no rings because a reset failed, which is to be tried again.
    retry: Option<Retry>,
    /// The receive queue whose turn it is.
    queue: usize,
    mac: [u8; 6],
    link: Link,
    /// The device's interrupts are on.
    armed: bool,
    /// The transmit ring was found full: an interrupt is wanted when it is not.
    blocked: bool,
    statistics: Statistics,
}

impl<H: Hardware> Driver<H> {
    /// Resets the device, whatever state it is in, and starts it.
    pub(crate) async fn start(
        device: Device,
        pool: &'static Pool,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let address = device.address();
        let registers = device.bar(0)?;
        if registers.len() < H::SIZE {
            return Err(pci::Error::NoBar(address, 0).into());
        }
        let mut hardware = H::new(registers);
        let error = |trouble: Trouble| trouble.of(address, H::FAMILY);
        hardware.reset().await.map_err(error)?;
        let mac = match settings.mac {
            Some(mac) => mac,
            None => hardware.mac().await.map_err(|mac| Error::NoAddress(address, mac))?,
        };

        let rings = Rings::new(pool, settings).map_err(|error| Error::Dma(address, error))?;
        let vector = device.interrupts(H::entries(rings.receive.len()))?;
        let mut driver = Self {
            device,
            hardware,
            pool,
            settings: *settings,
            groups: Vec::new(),
            vector,
            is_enabled: false,
            rings: None,
            retry: None,
            queue: 0,
            mac,
            link: Link::default(),
            armed: false,
            blocked: false,
            statistics: Statistics::default(),
        };
        driver.bring_up(rings).await.map_err(error)?;
        // What was counted before is nobody's.
        driver.hardware.take_errors();
        Ok(driver)
    }

    /// From a device that was reset, and rings that start over, to one that receives and transmits.
    async fn bring_up(&mut self, rings: Rings<H>) -> Result<(), Trouble> {
        if !self.hardware.settle().await {
            return Err(Trouble::Stuck);
        }
        let queues: Vec<_> = rings.receive.iter().map(ReceiveRing::descriptors).collect();
        let transmit = rings.transmit.descriptors();
        self.rings = Some(self.device.start_dma(rings));
        self.hardware.enable_link().await;
        self.hardware.set_mac(self.mac).await?;
        self.hardware.configure(&self.settings, buffer_size(&self.settings)).await?;
        self.hardware.set_multicast(&Table::of_groups(&self.groups), None);
        self.hardware.enable_receive(&queues).await;
        self.hardware.enable_transmit(transmit).await;
        self.hardware.route_interrupts(&self.vector);
        self.link = self.hardware.link();
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), ResetError> {
        // Counters go with the reset.
        self.statistics();
        let retry = self.retry.take();
        let mut is_reset = false;
        let rings = match self.rings.take() {
            Some(rings) => {
                self.disarm();
                is_reset = !self.hardware.is_gone() && self.hardware.quiesce().await;
                // From here on no request of the device passes that is still under way.
                let mut rings = rings.stop();
                rings.restart();
                Ok(rings)
            }
            None if retry.is_some() => Rings::new(self.pool, &self.settings),
            None => return Err(ResetError::Stopped),
        };
        self.blocked = false;
        let address = self.device.address();
        let started = match rings {
            Ok(rings) => self
                .start_again(rings, is_reset)
                .await
                .map_err(|error| error.of(address, H::FAMILY)),
            Err(error) => Err(Error::Dma(address, error)),
        };
        let Err(error) = started else { return Ok(()) };
        log::error!("{error}");
        // Whatever of it was started.
        self.end().await;
        self.link = Link::default();
        self.vector.disable();
        self.is_enabled = false;
        if self.hardware.is_gone() {
            return Err(ResetError::Gone);
        }
        if !H::RECOVERS {
            return Err(ResetError::Stuck);
        }
        self.retry = Some(Retry::after(retry));
        Err(ResetError::Later)
    }

    async fn start_again(&mut self, rings: Rings<H>, is_reset: bool) -> Result<(), Trouble> {
        if !is_reset {
            self.hardware.reset().await?;
        }
        self.bring_up(rings).await
    }

    async fn end(&mut self) {
        // Counters go with the reset.
        self.statistics();
        self.retry = None;
        let Some(rings) = self.rings.take() else { return };
        self.armed = false;
        self.link = Link::default();
        // No reset: whoever starts the device again has to see to that, and this may be what a
        // migration waits for.
        if !self.hardware.is_gone() && !self.hardware.end_dma().await {
            log::warn!("{}: DMA did not end in time, cut off", self.device.address());
        }
        // From here on no request of the device passes, whatever it does.
        let mut rings = rings.stop();
        self.vector.disable();
        rings.receive.iter_mut().for_each(ReceiveRing::mark_completed);
        rings.transmit.mark_completed();
    }

    /// Adds frames to a batch, until it has `most`.
    fn receive_most(&mut self, batch: &mut Batch, most: usize) {
        let Some(rings) = &mut self.rings else { return };
        for _ in 0..rings.receive.len() {
            rings.receive[self.queue].receive(batch, most, &mut self.statistics);
            if batch.len() >= most {
                break;
            }
            self.queue += 1;
            if self.queue == rings.receive.len() {
                self.queue = 0;
            }
        }
        if self.armed && !batch.is_empty() {
            self.disarm();
        }
    }

    fn disarm(&mut self) {
        self.hardware.mask_interrupts();
        self.armed = false;
    }
}

impl<H: Hardware> Nic for Driver<H> {
    fn family(&self) -> &'static str {
        H::FAMILY
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn link(&self) -> Link {
        self.link
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_frame: self.settings.max_frame(),
            receive_checksums: Checksums { ipv4: true, tcp: true, udp: true },
            transmit_checksums: Checksums { ipv4: false, tcp: true, udp: true },
            segmentation: Some(Segmentation { max_frame: MAX_RUN }),
        }
    }

    fn receive(&mut self) -> Option<RxBuffer> {
        let mut batch = Batch::new();
        self.receive_most(&mut batch, 1);
        batch.pop()
    }

    fn receive_batch(&mut self, batch: &mut Batch) {
        self.receive_most(batch, BATCH);
    }

    fn transmit_ready(&mut self) -> bool {
        let Some(rings) = &mut self.rings else { return false };
        self.blocked = !rings.transmit.is_ready();
        !self.blocked
    }

    fn transmit(&mut self, mut frame: TxBuffer, len: usize, segment: Option<NonZeroU16>) {
        let max = if segment.is_some() { MAX_RUN } else { self.settings.max_frame() };
        let fits = self.transmit_ready() && len <= max.min(frame.len());
        let vlan = self.settings.vlan;
        let offload = fits.then(|| Offload::prepare(&mut frame[..len], segment, vlan)).flatten();
        let (Some(offload), Some(rings)) = (offload, &mut self.rings) else {
            self.statistics.transmit_dropped += 1;
            return;
        };
        if let Ok(stream) = frame.into_stream(len) {
            rings.transmit.send(stream, len, &offload);
            self.statistics.transmitted += 1;
            self.statistics.transmitted_bytes += len as u64;
        }
    }

    fn flush(&mut self) {
        let Some(rings) = &mut self.rings else { return };
        if let Some(tail) = rings.transmit.flush() {
            self.hardware.set_transmit_tail(tail);
        }
        for (queue, ring) in rings.receive.iter_mut().enumerate() {
            if let Some(tail) = ring.flush() {
                self.hardware.set_receive_tail(queue, tail);
            }
        }
        // Each batch begins with another queue: a flooded one does not keep the others waiting.
        self.queue = (self.queue + 1) % rings.receive.len();
    }

    fn arm(&mut self) -> bool {
        let Some(rings) = &mut self.rings else { return !self.needs_reset() };
        if !core::mem::replace(&mut self.is_enabled, true) {
            self.vector.enable();
        }
        let raised = self.vector.interrupt.take();
        self.statistics.interrupts += u64::from(raised);
        if self.armed && raised {
            self.hardware.mask_interrupts();
            self.armed = false;
        }
        if !self.armed {
            if self.hardware.take_causes() {
                self.link = self.hardware.link();
            }
            // A frame that completed since the causes were taken has raised its cause again, and
            // unmasking a raised cause interrupts.
            self.hardware.unmask_interrupts(self.blocked);
            self.vector.interrupt.unmask();
            self.armed = true;
        } else if self.blocked {
            // The ring may have filled up since the interrupts were turned on.
            self.hardware.unmask_interrupts(true);
        }
        // A link that comes up unnoticed would be down for ever: whoever waits for it asks now and
        // then.
        if !self.link.up {
            self.link = self.hardware.link();
        }
        // Who arms it resets it then.
        let is_undone = self.hardware.needs_reset();
        let has_room_again = self.blocked && rings.transmit.is_ready();
        if rings.receive.iter().any(ReceiveRing::is_pending) || has_room_again || is_undone {
            self.disarm();
        }
        self.armed
    }

    fn interrupt(&self) -> Interrupt {
        self.vector.interrupt.clone()
    }

    fn accept_multicast(&mut self, groups: &[[u8; 6]]) {
        if self.rings.is_some() {
            let before = Table::of_groups(&self.groups);
            self.hardware.set_multicast(&Table::of_groups(groups), Some(&before));
        }
        self.groups = groups.to_vec();
    }

    fn reset(&mut self) -> LocalBoxFuture<'_, Result<(), ResetError>> {
        Box::pin(self.restart())
    }

    fn needs_reset(&self) -> bool {
        match &self.retry {
            Some(retry) => retry.is_due(),
            None => self.rings.is_some() && self.hardware.needs_reset(),
        }
    }

    fn stop(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.end())
    }

    fn statistics(&mut self) -> Statistics {
        if self.rings.is_some() && !self.hardware.is_gone() {
            let (missed, damaged) = self.hardware.take_errors();
            self.statistics.missed += missed;
            self.statistics.bad_frame += damaged;
        }
        self.statistics
    }
}

impl<H: Hardware> Drop for Driver<H> {
    fn drop(&mut self) {
        block_on(self.end());
    }
}
