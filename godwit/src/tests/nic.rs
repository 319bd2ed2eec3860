//! A NIC with nothing to say.

use std::boxed::Box;
use std::cell::RefCell;
use std::future::ready;
use std::num::NonZeroU16;

use crate::interfaces::Probing;
use unikernel::dma::{Pool, RxBuffer, TxBuffer};
use unikernel::irq::{self, Interrupt};
use unikernel::nic::{Capabilities, Link, LocalBoxFuture, Nic, ResetError, Settings, Statistics};
use unikernel::pci::Device;
use unikernel::pci::fake::{Card, Memory};

/// Vendor of the cards that get a quiet NIC. Their device id is the last byte of the station
/// address, with [`STANDBY`] in it for a standby.
const VENDOR: u16 = 0x1234;
const STANDBY: u16 = 0x100;

pub(super) fn card(mac: u8) -> Card {
    Card::new(VENDOR, mac.into(), 0x0200).bar(0, 0x1000, 0, Memory::new(0x1000))
}

pub(super) fn standby(mac: u8) -> Card {
    Card::new(VENDOR, u16::from(mac) | STANDBY, 0x0200).bar(0, 0x1000, 0, Memory::new(0x1000))
}

thread_local! {
    /// What drivers were started with, in order: the last byte of the address, and the MTU.
    static STARTED: RefCell<Vec<(u8, usize)>> = const { RefCell::new(Vec::new()) };
}

/// Takes what drivers were started with since the last call.
pub(super) fn started() -> Vec<(u8, usize)> {
    STARTED.take()
}

/// Starts the driver of a card made here.
pub(super) fn probe(device: Device, _: &'static Pool, settings: Settings) -> Probing {
    Box::pin(ready(start(&device, &settings)))
}

fn start(device: &Device, settings: &Settings) -> Result<Box<dyn Nic>, drivers::Error> {
    let (vendor, id) = device.ids();
    if vendor != VENDOR {
        return Err(drivers::Error::Unknown { address: device.address(), vendor, id });
    }
    STARTED.with_borrow_mut(|started| started.push((id as u8, settings.mtu.get())));
    Ok(quiet(id, settings.mac))
}

/// One that needs no card. Its address ends in its id, unless it is told another.
pub(super) fn quiet(id: u16, mac: Option<[u8; 6]>) -> Box<dyn Nic> {
    let mac = mac.unwrap_or([2, 0, 0, 0, 0, id as u8]);
    Box::new(Quiet { id, mac, interrupt: irq::allocate().expect("an interrupt") })
}

struct Quiet {
    id: u16,
    mac: [u8; 6],
    interrupt: Interrupt,
}

impl Nic for Quiet {
    fn family(&self) -> &'static str {
        "quiet"
    }
    fn mac(&self) -> [u8; 6] {
        self.mac
    }
    fn link(&self) -> Link {
        Link { up: true, speed: 1000, full_duplex: true }
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { max_frame: 1514, ..Capabilities::default() }
    }
    fn receive(&mut self) -> Option<RxBuffer> {
        None
    }
    fn transmit_ready(&mut self) -> bool {
        true
    }
    fn transmit(&mut self, _: TxBuffer, _: usize, _: Option<NonZeroU16>) {}
    fn flush(&mut self) {}
    fn arm(&mut self) -> bool {
        true
    }
    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }
    fn accept_multicast(&mut self, _: &[[u8; 6]]) {}
    fn reset(&mut self) -> LocalBoxFuture<'_, Result<(), ResetError>> {
        Box::pin(async { Ok(()) })
    }
    fn is_standby(&self) -> bool {
        self.id & STANDBY != 0
    }
    fn stop(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {})
    }
    fn statistics(&mut self) -> Statistics {
        Statistics::default()
    }
}
