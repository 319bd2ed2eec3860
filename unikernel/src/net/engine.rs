//! The stack's parts put together, and one turn of moving packets between them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use smoltcp::iface::{self, Interface, PollResult};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress};

use super::addresses::{Addresses, mac_of};
use super::announcer::Announcer;
use super::config::Config;
use super::device::Device;
use super::emit;
use super::error::Error;
use super::groups::Groups;
use super::pair::{LinkEvent, Pair, Role};
use super::sequence::Sequence;
use super::sockets::Sockets;
use crate::dma::Pool;
use crate::nic::{Capabilities, Nic};

/// What the interface answers to before there ever was a NIC. Nothing is sent with it.
const NO_NIC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0]);
/// Frames taken from the NIC in one turn. Enough to spread a doorbell thin, few enough that other
/// tasks do not starve.
const RECEIVE_BUDGET: usize = 64;
/// Rounds of sending in one turn; in each, every socket sends one packet.
const SEND_BUDGET: usize = 64;
/// How often timers are looked at without a link: sockets then claim to have work at any time.
const STALLED: Duration = Duration::from_millis(100);
/// How long room to send is waited for, should the interrupt that tells of it get lost, or the DMA
/// pool be short.
const ROOM: Duration = Duration::from_millis(1);
/// How often a NIC without a link is asked for it, should the interrupt that tells of it get lost.
const LINK: Duration = Duration::from_millis(100);

/// What the loop does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more: another turn as soon as the other tasks have run.
    Again,
    /// Nothing to do until this time, an interrupt, or a socket.
    Sleep(Option<Instant>),
}

/// What of a NIC an interface depends on: its address, what it can do, and the longest frame there
/// is memory for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Basis([u8; 6], Capabilities, usize);

/// The parts of a stack.
pub(super) struct Engine {
    pub(super) interface: Interface,
    /// What the interface was made for.
    basis: Option<Basis>,
    pub(super) pair: Pair,
    pub(super) sockets: Sockets,
    pub(super) addresses: Addresses,
    groups: Groups,
    announcer: Announcer,
    /// The time of the last turn.
    now: Instant,
    seed: u64,
}

impl Engine {
    pub(super) fn new(pool: &'static Pool, config: &Config) -> Self {
        let mut pair = Pair::new(pool, config.name.clone(), Sequence::new(config.secret));
        let mut sockets = Sockets::new(config.seed);
        let addresses = Addresses::new(config, sockets.set());
        let interface = new_interface(&mut pair.device, config.seed);
        let mut engine = Self {
            interface,
            basis: None,
            pair,
            sockets,
            addresses,
            groups: Groups::default(),
            announcer: Announcer::default(),
            now: Instant::ZERO,
            seed: config.seed,
        };
        engine.apply_addresses();
        engine
    }

    pub(super) fn attach(&mut self, nic: Box<dyn Nic>) -> Result<Role, Box<dyn Nic>> {
        let (role, is_active) = self.pair.attach(nic)?;
        if is_active {
            self.announcer.stop();
            self.renew_interface();
        }
        Ok(role)
    }

    pub(super) fn detach(&mut self, role: Role) -> Option<Box<dyn Nic>> {
        let (interface, sockets) = (&mut self.interface, self.sockets.set());
        let (nic, was_active) = self.pair.detach(role, interface, sockets, self.now)?;
        if was_active {
            self.follow_switchover();
        }
        Some(nic)
    }

    pub(super) fn switch_over_from(&mut self, role: Role) -> bool {
        let (interface, sockets) = (&mut self.interface, self.sockets.set());
        let switched = self.pair.switch_over_from(role, interface, sockets, self.now);
        if switched {
            self.follow_switchover();
        }
        switched
    }

    /// Announces the addresses again. Returns whether there is a link to do so.
    pub(super) fn announce(&mut self) -> bool {
        let up = self.pair.link().up;
        if up {
            self.announcer.start(Instant::ZERO);
        }
        up
    }

    pub(super) fn join(&mut self, group: IpAddress) -> Result<(), Error> {
        if self.groups.join(group, &mut self.interface)? {
            self.apply_groups();
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, group: IpAddress) {
        if self.groups.leave(group, &mut self.interface) {
            self.apply_groups();
        }
    }

    /// The time of the last turn.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        mac_of(&self.interface).0
    }

    /// Whether something can be sent to that address at all.
    pub(super) fn reaches(&self, to: IpAddress) -> bool {
        self.addresses.reaches(to, &self.interface)
    }

    /// Moves packets, a bounded number of them. Returns what to do then, and whether address, link
    /// or NIC has changed.
    pub(super) fn turn(&mut self, now: Instant) -> (Next, bool) {
        self.now = now;
        let received = self.receive(now);
        self.pair.device.tend(now);
        if self.pair.device.listeners.take_starved() {
            self.sockets.free_memory(now);
        }
        let (interface, sockets) = (&mut self.interface, self.sockets.set());
        let switched = self.pair.switch_to_better(interface, sockets, now);
        if switched {
            self.follow_switchover();
        }
        let changed = switched | self.follow_link(now) | self.heed_notes(now);
        self.send_unasked(now);
        let sent = self.send(now);
        self.pair.device.flush();
        let room_is_awaited = self.pair.device.tell_of_room();
        self.sockets.reap(now);
        let next = if received == RECEIVE_BUDGET || sent == SEND_BUDGET {
            Next::Again
        } else {
            self.sleep_until(room_is_awaited, now)
        };
        (next, changed)
    }

    fn receive(&mut self, now: Instant) -> usize {
        let (device, interface) = (&mut self.pair.device, &mut self.interface);
        let sockets = self.sockets.set();
        let mut received = 0;
        while received < RECEIVE_BUDGET && device.receive_one(interface, sockets, now) {
            received += 1;
        }
        received
    }

    fn send(&mut self, now: Instant) -> usize {
        let mut sent = 0;
        while sent < SEND_BUDGET
            && self.finish_fragments(now)
            && self.interface.poll_egress(now, &mut self.pair.device, self.sockets.set())
                == PollResult::SocketStateChanged
        {
            sent += 1;
        }
        sent
    }

    /// Sends what is left of a fragmented datagram. Returns whether there is room for another.
    ///
    /// smoltcp 0.14 sends one fragment at each `poll_egress` and then has the sockets go on, which
    /// overwrites the buffer that the other fragments come from. Polling no sockets sends the
    /// fragments alone.
    fn finish_fragments(&mut self, now: Instant) -> bool {
        while self.interface.poll_at(now, self.sockets.none()).is_some() {
            if !self.pair.device.transmit_ready() {
                return false;
            }
            self.interface.poll_egress(now, &mut self.pair.device, self.sockets.none());
        }
        true
    }

    /// Does what a change of the link calls for. Returns whether there was one.
    fn follow_link(&mut self, now: Instant) -> bool {
        let Some(event) = self.pair.poll_link() else { return false };
        match event {
            LinkEvent::Up { elsewhere } => {
                self.addresses.restart(elsewhere, self.sockets.set(), now);
                self.announcer.start(now);
            }
            LinkEvent::Down => self.announcer.stop(),
            LinkEvent::Changed => {}
        }
        true
    }

    /// Does what received frames call for besides what smoltcp does. Returns whether addresses or
    /// routes have changed.
    fn heed_notes(&mut self, now: Instant) -> bool {
        let notes = self.pair.device.take_notes();
        if notes.tcp_reset {
            self.sockets.note_resets();
        }
        let changed = self.addresses.poll(notes.advertised, self.sockets.set(), now);
        if changed {
            self.apply_addresses();
            self.announcer.start(now);
        }
        // QEMU announces the address of a guest that has moved on the standby, five times in a
        // second, however early the primary is active again. Switches believe it, so it is
        // answered.
        if notes.own_rarp && self.pair.link().up {
            self.announcer.start(now);
            self.pair.expect_late_frames(now);
        }
        changed
    }

    /// Sends the announcements and router solicitations that are due.
    fn send_unasked(&mut self, now: Instant) {
        let mac = mac_of(&self.interface);
        let device = &mut self.pair.device;
        let solicits = self.addresses.solicit_at().is_some_and(|at| now >= at);
        if solicits && device.link_up && emit::router_solicitation(device, mac, now) {
            self.addresses.solicited(now);
        }
        self.announcer.poll(self.interface.ip_addrs(), mac, device, now);
    }

    fn sleep_until(&mut self, room_is_awaited: bool, now: Instant) -> Next {
        let link = self.pair.link();
        let sockets = self.interface.poll_at(now, self.sockets.set());
        // Without a link these are no reason to stay awake: they start anew with it.
        let unasked = [self.announcer.due_at(), self.addresses.solicit_at()].into_iter().flatten();
        let awaited = room_is_awaited.then_some(now);
        let to_send = sockets.into_iter().chain(unasked.filter(|_| link.up)).chain(awaited).min();
        let possible = match (self.pair.device.transmit_ready(), link.up) {
            (true, _) => now,
            // A NIC that has room again interrupts; a missing one comes when it comes.
            (false, true) => now + ROOM,
            (false, false) => now + STALLED,
        };
        let to_send = to_send.map(|at| at.max(possible));
        if to_send == Some(now) {
            return Next::Again;
        }
        let waits_for_link = !link.up && self.pair.device.nic().is_some();
        let times = [
            to_send,
            waits_for_link.then(|| now + LINK),
            self.addresses.poll_at(),
            self.pair.poll_at(),
            self.pair.device.listeners.tend_at(),
        ];
        Next::Sleep(times.into_iter().flatten().min())
    }

    /// Another NIC is active, or none.
    fn follow_switchover(&mut self) {
        self.renew_interface();
        self.announcer.stop();
        self.announce();
    }

    /// Makes the interface fit the active NIC.
    ///
    /// smoltcp fixes what a device can do when an interface is made. A NIC that can do the same as
    /// the one before keeps the interface, and with it what is known of neighbours.
    fn renew_interface(&mut self) {
        let Some(nic) = self.pair.device.nic() else { return };
        let basis = Some(Basis(nic.mac(), nic.capabilities(), self.pair.device.longest()));
        if basis != self.basis {
            self.basis = basis;
            self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            self.interface = new_interface(&mut self.pair.device, self.seed);
            self.apply_addresses();
            self.groups.rejoin(&mut self.interface);
        }
        self.apply_groups();
    }

    /// Puts addresses, routes and name servers into use, and the groups that follow from them.
    fn apply_addresses(&mut self) {
        self.addresses.apply(&mut self.interface);
        let name_servers: Vec<_> = self.addresses.name_servers().collect();
        self.sockets.set_name_servers(&name_servers);
        self.apply_groups();
    }

    /// Has the interface's groups received, by the NIC and in place.
    fn apply_groups(&mut self) {
        let destinations = self.addresses.destinations(&self.interface);
        let destinations = destinations.into_iter().chain(self.groups.all()).collect();
        self.pair.device.intake.set_destinations(destinations);
        let stations = self.groups.stations(&self.interface);
        if let Some(nic) = self.pair.device.nic_mut() {
            nic.accept_multicast(&stations);
        }
    }
}

fn new_interface(device: &mut Device, seed: u64) -> Interface {
    let mac = device.nic().map_or(NO_NIC, |nic| EthernetAddress(nic.mac()));
    let mut config = iface::Config::new(HardwareAddress::Ethernet(mac));
    config.random_seed = seed;
    Interface::new(config, device, Instant::ZERO)
}
