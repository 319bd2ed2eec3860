//! The machine's network interfaces, and which NICs serve them.
//!
//! Every NIC gets an interface of its own, but for two cases. A primary and a standby with the same
//! station address are a pair, and share one. And one that comes when an interface has lost its NIC
//! takes its place there: the interface keeps its addresses, connections and leases. Which one that
//! is, its station address tells, or else where it was plugged.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use embassy_time::{Duration, Timer};
use migrate_agent::{Attached, Nics, Why};
use unikernel::cmdline::CommandLine;
use unikernel::dma::Pool;
use unikernel::net::{Role, Stack};
use unikernel::nic::{LocalBoxFuture, Nic, Settings};
use unikernel::pci::{Device, PciAddress};
use unikernel::watch::Watch;

use crate::interface::{self, Interface};
use crate::settings;
use crate::tasks::Tasks;

/// How long a NIC that is about to leave still receives while its standby is in use: for a switch
/// to have heard of that, and for what it had already sent.
const STRAGGLERS: Duration = Duration::from_millis(20);

/// Starts the driver of a device.
pub(crate) type Probe = fn(Device, &'static Pool, Settings) -> Probing;

/// A driver that starts.
pub(crate) type Probing = LocalBoxFuture<'static, Result<Box<dyn Nic>, drivers::Error>>;

/// Starts the driver of a NIC that there is a driver for.
pub(crate) fn probe(device: Device, pool: &'static Pool, settings: Settings) -> Probing {
    Box::pin(async move { drivers::probe(device, pool, &settings).await })
}

/// All of them. A handle, cheap to clone.
#[derive(Clone)]
pub(crate) struct Interfaces(Rc<Shared>);

struct Shared {
    pool: &'static Pool,
    line: Rc<CommandLine<'static>>,
    tasks: Tasks,
    probe: Probe,
    list: RefCell<Vec<Interface>>,
    nics: RefCell<Vec<Place>>,
    count: Watch<usize>,
}

/// Where a NIC is, or was last, and what it serves.
struct Place {
    device: PciAddress,
    mac: [u8; 6],
    interface: usize,
    role: Role,
    /// It is there.
    attached: bool,
    /// It was quiesced: whatever takes its place, here or where the machine moves to, gets its
    /// station address.
    quiesced: bool,
}

impl Interfaces {
    pub(crate) fn new(
        pool: &'static Pool,
        line: Rc<CommandLine<'static>>,
        tasks: Tasks,
        probe: Probe,
    ) -> Self {
        let (list, nics) = (RefCell::default(), RefCell::default());
        Self(Rc::new(Shared { pool, line, tasks, probe, list, nics, count: Watch::new(0) }))
    }

    /// Those there are now.
    pub(crate) fn all(&self) -> Vec<Interface> {
        self.0.list.borrow().clone()
    }

    /// Interface `index`, as soon as there is one.
    pub(crate) async fn get(&self, index: usize) -> Interface {
        self.0.count.watcher().wait_for(|&count| count > index).await;
        self.interface(index).expect("it has been counted")
    }

    /// Gives a NIC that is none of a PCI device's to an interface.
    #[cfg(not(target_os = "none"))]
    pub(crate) fn adopt(&self, nic: Box<dyn Nic>) {
        let nowhere = PciAddress::new(0xffff, 0xff, 0x1f, 7);
        // One that is left alone stops when it is dropped.
        let _ = self.give(nowhere, nic);
    }

    /// The interface that a device's NIC will most likely serve: what its settings are taken from
    /// before its station address is known.
    fn expected(&self, device: PciAddress) -> usize {
        let nics = self.0.nics.borrow();
        let known = nics.iter().find(|place| place.device == device);
        known.map_or(self.0.list.borrow().len(), |place| place.interface)
    }

    /// The interface that a NIC is for. May be the next that there is none of yet.
    fn interface_for(&self, device: PciAddress, nic: &dyn Nic) -> usize {
        let (mac, role) = (nic.mac(), Role::of(nic));
        let nics = self.0.nics.borrow();
        let has = |interface, role: Option<Role>| {
            let is_it = |place: &&Place| place.attached && place.interface == interface;
            nics.iter().filter(is_it).any(|place| role.is_none_or(|role| place.role == role))
        };
        let known = |is_it: &dyn Fn(&Place) -> bool| {
            let mut places = nics.iter().filter(|place| !has(place.interface, Some(role)));
            places.find(|place| is_it(place)).map(|place| place.interface)
        };
        let count = self.0.list.borrow().len();
        known(&|place| place.mac == mac)
            .or_else(|| known(&|place| place.device == device && place.role == role))
            .or_else(|| (0..count).find(|&interface| !has(interface, None)))
            .unwrap_or(count)
    }

    /// The settings of an interface, for the NIC that takes the place `is_it`.
    fn settings(&self, interface: usize, is_it: impl Fn(&Place) -> bool) -> Settings {
        let nics = self.0.nics.borrow();
        let quiesced = |place: &&Place| place.quiesced && place.interface == interface;
        let mac = nics.iter().filter(quiesced).find(|place| is_it(place)).map(|place| place.mac);
        Settings { mac, ..Settings::from_keys(&self.0.line.interface(interface)) }
    }

    /// Starts the driver of a device, for interface `index`.
    async fn start(
        &self,
        device: &Device,
        index: usize,
        settings: &Settings,
    ) -> Option<Box<dyn Nic>> {
        let started = (self.0.probe)(device.clone(), self.0.pool, *settings).await;
        started.inspect_err(|error| log::error!("{}: {error}", interface::name(index))).ok()
    }

    fn interface(&self, index: usize) -> Option<Interface> {
        self.0.list.borrow().get(index).cloned()
    }

    /// Gives a NIC to its interface, making that if need be. It comes back if it
    /// makes no pair with the one that is there.
    fn give(&self, device: PciAddress, nic: Box<dyn Nic>) -> Result<Attached, Box<dyn Nic>> {
        let index = self.interface_for(device, &*nic);
        let (mac, role, family) = (nic.mac(), Role::of(&*nic), nic.family());
        let is_logged = nic.is_logged();
        let known = self.interface(index);
        let interface = known.clone().unwrap_or_else(|| self.make(index));
        if let Err(nic) = interface.stack().attach(nic) {
            let name = interface.name();
            log::error!(
                "{name}: {device} is left alone: it makes no pair with its interface's NIC"
            );
            return Err(nic);
        }
        let mut nics = self.0.nics.borrow_mut();
        nics.retain(|place| place.interface != index || place.role != role);
        nics.push(Place { device, mac, interface: index, role, attached: true, quiesced: false });
        drop(nics);
        let name = interface.name();
        match role {
            Role::Standby => unikernel::println!("{name}: standby {family}"),
            Role::Primary if known.is_some() => unikernel::println!("{name}: attached {family}"),
            Role::Primary => {}
        }
        if known.is_none() {
            self.0.count.set(index + 1);
        }
        Ok(Attached { is_logged })
    }

    fn make(&self, index: usize) -> Interface {
        let config = settings::config(interface::name(index), &self.0.line.interface(index));
        let interface = Interface::new(index, Stack::new(self.0.pool, config));
        self.0.list.borrow_mut().push(interface.clone());
        let (runs, says) = (interface.clone(), interface.clone());
        self.0.tasks.spawn(async move { runs.stack().run().await });
        self.0.tasks.spawn(async move { says.say_when_ready().await });
        interface
    }
}

impl Nics for Interfaces {
    async fn attach(&self, device: Device) -> Option<Attached> {
        let address = device.address();
        if drivers::virtio::is_closed_iommu(&device) {
            unikernel::println!(
                "pci: {address} is a virtio-iommu, which has no driver, and lets nobody through: \
                 give it boot-bypass=on, its default, or the NICs behind it reach no memory"
            );
        }
        if !drivers::is_nic(&device) {
            log::debug!("pci: {address} is no NIC, left alone");
            return None;
        }
        let expected = self.expected(address);
        let first = self.settings(expected, |place| place.device == address);
        let mut nic = self.start(&device, expected, &first).await?;
        let index = self.interface_for(address, &*nic);
        let role = Role::of(&*nic);
        let settings = self.settings(index, |place| place.role == role);
        if settings != first {
            nic.stop().await;
            nic = self.start(&device, index, &settings).await?;
        }
        // Before the standby is left: its backlog is older than what the NIC receives from now on.
        self.drain().await;
        // The NIC that this one is to make a pair with may be being reset.
        if let Some(interface) = self.interface(index) {
            interface.stack().settled().await;
        }
        match self.give(address, nic) {
            Ok(attached) => Some(attached),
            Err(mut nic) => {
                nic.stop().await;
                None
            }
        }
    }

    async fn release(&self, below: impl Fn(PciAddress) -> bool, why: Why) {
        let leaving: Vec<_> = {
            let mut nics = self.0.nics.borrow_mut();
            let below = |place: &&mut Place| place.attached && below(place.device);
            let mut leave = |place: &mut Place| {
                place.attached = false;
                place.quiesced = why == Why::Quiesced;
                (place.interface, place.role)
            };
            nics.iter_mut().filter(below).map(&mut leave).collect()
        };
        let leaving: Vec<_> = leaving
            .into_iter()
            .filter_map(|(interface, role)| Some((self.interface(interface)?, role)))
            .collect();
        let mut has_standby = false;
        for (interface, role) in &leaving {
            interface.stack().settled().await;
            has_standby |= interface.stack().switch_over_from(*role);
        }
        if has_standby {
            Timer::after(STRAGGLERS).await;
        }
        // While they still receive: a line takes a virtual machine a while.
        for (interface, role) in &leaving {
            match role {
                Role::Primary => unikernel::println!("{}: {why}", interface.name()),
                Role::Standby => unikernel::println!("{}: standby {why}", interface.name()),
            }
        }
        unikernel::console::written().await;
        for (interface, role) in leaving {
            // A NIC that was not taken out would go on receiving.
            interface.stack().settled().await;
            if let Some(mut nic) = interface.stack().detach(role) {
                nic.stop().await;
            }
        }
    }

    fn announce(&self) {
        for interface in self.all() {
            interface.stack().announce();
        }
    }

    async fn drain(&self) {
        for interface in self.all() {
            // Without a NIC, other tasks would have their turns, and nothing would come of it.
            if interface.nic().is_some() {
                interface.stack().drain().await;
            }
        }
    }
}
