//! The stack's state, and the NIC's coming and going.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use smoltcp::iface::{self, Interface, SocketHandle, SocketSet};
use smoltcp::socket::AnySocket;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv6Cidr};

use super::address::{Address, Addressing, Lease};
use super::announce::Announce;
use super::device::{Device, Observer, Traffic};
use super::ipv6::{Addressing6, Ipv6};
use super::pair::Idle;
use crate::dma::Pool;
use crate::irq::Interrupt;
use crate::nic::{Capabilities, Link, Nic, ResetError};
use crate::watch::{Watch, Watcher};

/// What the interface answers to before there ever was a NIC. Nothing is sent with it.
const NO_NIC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0]);

/// How a [`Stack`] is set up.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Where the address comes from.
    pub addressing: Addressing,
    /// Default gateway of a static address. DHCP brings its own.
    pub gateway: Option<Ipv4Address>,
    /// Where the IPv6 addresses come from.
    pub addressing6: Addressing6,
    /// For TCP initial sequence numbers and DHCP transaction ids; another one at each boot.
    pub seed: u64,
}

/// One network interface: addresses, sockets and, most of the time, a NIC. A handle, cheap to clone.
#[derive(Clone)]
pub struct Stack {
    pub(super) shared: Rc<Shared>,
}

pub(super) struct Shared {
    pub(super) inner: RefCell<Inner>,
    /// Something happened that the run loop must look at.
    pub(super) work: Signal<NoopRawMutex, ()>,
    /// A turn of the run loop has left nothing to do.
    pub(super) rested: Cell<bool>,
    /// Set when address, link or NIC may have changed.
    pub(super) changed: Watch<()>,
}

pub(super) struct Inner {
    pub(super) interface: Interface,
    pub(super) device: Device,
    /// What the interface was made for.
    made_for: Option<Capacity>,
    /// The other NIC, if there are two.
    pub(super) idle: Idle,
    /// The NIC's. One handle for as long as the NIC stays: a handle remembers what it has seen.
    pub(super) interrupt: Option<Rc<Interrupt>>,
    pub(super) sockets: SocketSet<'static>,
    /// Always empty; see `Inner::finish_fragments`.
    pub(super) no_sockets: SocketSet<'static>,
    pub(super) address: Address,
    pub(super) ipv6: Ipv6,
    /// The time of the last turn.
    pub(super) now: Instant,
    /// Multicast groups that were joined.
    pub(super) groups: Vec<IpAddress>,
    /// Connections whose owner has dropped them and that still have to say goodbye.
    pub(super) closing: Vec<SocketHandle>,
    pub(super) link: Link,
    /// Whether this NIC's link has been up and went down again.
    pub(super) link_lost: bool,
    /// Announcements of our address still to be sent, and when.
    pub(super) announce: Announce,
    seed: u64,
}

impl Stack {
    /// A stack without a NIC. Nothing moves until [`run`](Self::run) does.
    pub fn new(pool: &'static Pool, config: Config) -> Self {
        let mut device = Device::new(pool);
        let mut sockets = SocketSet::new(Vec::new());
        let address = Address::new(config.addressing, config.gateway, &mut sockets);
        let interface = new_interface(&mut device, config.seed, Instant::ZERO);
        let stack = Self {
            shared: Rc::new(Shared {
                inner: RefCell::new(Inner {
                    interface,
                    device,
                    made_for: None,
                    idle: Idle::default(),
                    interrupt: None,
                    sockets,
                    no_sockets: SocketSet::new(Vec::new()),
                    address,
                    ipv6: Ipv6::new(config.addressing6),
                    now: Instant::ZERO,
                    groups: Vec::new(),
                    closing: Vec::new(),
                    link: Link::default(),
                    link_lost: false,
                    announce: Announce::default(),
                    seed: config.seed,
                }),
                work: Signal::new(),
                rested: Cell::new(false),
                changed: Watch::new(()),
            }),
        };
        stack.shared.inner.borrow_mut().apply_addresses();
        stack
    }

    /// Who gets the received frames. Replaces, and drops, the observer there was.
    pub fn observe(&self, observer: Box<dyn Observer>) {
        self.shared.inner.borrow_mut().device.observer = Some(observer);
    }

    /// Calls `f` with the NIC in use.
    pub fn with_nic<R>(&self, f: impl FnOnce(&mut dyn Nic) -> R) -> Option<R> {
        let inner = &mut *self.shared.inner.borrow_mut();
        let nic = inner.device.nic.as_mut()?;
        Some(f(&mut **nic))
    }

    /// Resets the NIC in use. Sockets stay as they are; what was on the way is lost.
    ///
    /// `None` if there is no NIC.
    pub fn reset_nic(&self) -> Option<Result<(), ResetError>> {
        let result = self.with_nic(|nic| nic.reset());
        match &result {
            Some(Ok(())) => log::info!("nic: reset"),
            Some(Err(error)) => log::error!("nic: {error}"),
            None => {}
        }
        // The NIC's interrupt is off, and its link may have changed.
        self.shared.work.signal(());
        result
    }

    /// Announces the addresses again: the machine is somewhere else on the network than it was.
    pub fn announce(&self) {
        let inner = &mut *self.shared.inner.borrow_mut();
        if inner.link.up {
            inner.announce = Announce::starting(Instant::ZERO);
            self.shared.work.signal(());
        }
    }

    /// Calls `f` with a socket.
    pub(super) fn socket<S: AnySocket<'static>, R>(
        &self,
        handle: SocketHandle,
        f: impl FnOnce(&mut S) -> R,
    ) -> R {
        f(self.shared.inner.borrow_mut().sockets.get_mut(handle))
    }

    /// The address in use.
    pub fn lease(&self) -> Option<Lease> {
        self.shared.inner.borrow().address.lease()
    }

    /// The IPv6 addresses in use, the link-local one first.
    pub fn ipv6_addresses(&self) -> Vec<Ipv6Cidr> {
        let inner = self.shared.inner.borrow();
        let HardwareAddress::Ethernet(mac) = inner.interface.hardware_addr();
        inner.ipv6.addresses(mac.0).collect()
    }

    /// The link of the NIC in use; down when there is none.
    pub fn link(&self) -> Link {
        self.shared.inner.borrow().link
    }

    /// Counts from the stack's creation on.
    pub fn traffic(&self) -> Traffic {
        self.shared.inner.borrow().device.traffic
    }

    /// Waits until address, link or NIC may have changed, from this call on. Whoever does something
    /// else between two waits, and is to miss nothing meanwhile, keeps a [`watcher`](Self::watcher).
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let mut watcher = self.watcher();
        async move { watcher.changed().await }
    }

    /// Watches address, link and NIC. Any number of tasks can.
    pub fn watcher(&self) -> Watcher<()> {
        self.shared.changed.watcher()
    }
}

/// What of a NIC an interface depends on: its address, what it can do, and the longest frame there is memory for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Capacity([u8; 6], Capabilities, usize);

impl Inner {
    /// Makes the interface fit the NIC.
    ///
    /// smoltcp fixes what a device can do when an interface is made. A NIC that can do the same as the one before keeps the
    /// interface, and with it what is known of neighbours.
    pub(super) fn renew_interface(&mut self) {
        let Some(nic) = &self.device.nic else { return };
        let capacity = Some(Capacity(nic.mac(), nic.capabilities(), self.device.longest()));
        if capacity != self.made_for {
            self.made_for = capacity;
            self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            self.interface = new_interface(&mut self.device, self.seed, Instant::ZERO);
            self.apply_addresses();
            self.join_groups();
        }
        self.apply_groups();
    }

    /// Gives the interface its addresses and routes.
    pub(super) fn apply_addresses(&mut self) {
        let HardwareAddress::Ethernet(mac) = self.interface.hardware_addr();
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            let ipv4 = self.address.lease().map(|lease| IpCidr::Ipv4(lease.address));
            let ipv6 = self.ipv6.addresses(mac.0).map(IpCidr::Ipv6);
            // As many as Cargo.toml makes room for.
            addresses.extend(ipv4.into_iter().chain(ipv6).take(addresses.capacity()));
        });
        self.address.apply_route(&mut self.interface);
        self.ipv6.apply_route(&mut self.interface);
        self.apply_groups();
    }
}

fn new_interface(device: &mut Device, seed: u64, now: Instant) -> Interface {
    let mac = device.nic.as_ref().map_or(NO_NIC, |nic| EthernetAddress(nic.mac()));
    let mut config = iface::Config::new(HardwareAddress::Ethernet(mac));
    config.random_seed = seed;
    Interface::new(config, device, now)
}
