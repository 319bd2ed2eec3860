//! The stack's parts put together, and one turn of moving packets between them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use smoltcp::iface::{self, Interface, PollResult};
use smoltcp::phy::Device as _;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, Ipv6Address};

use super::addresses::Addresses;
use super::announcer::Announcer;
use super::config::Config;
use super::device::Device;
use super::discovery::{ADDRESSES, Answer};
use super::emit;
use super::error::Error;
use super::fragments6;
use super::groups::Groups;
use super::pair::{LinkEvent, Pair, Place, Role};
use super::sequence::Sequence;
use super::sockets::Sockets;
use crate::dma::Pool;
use crate::nic::{Capabilities, Nic};

/// Frames taken from the NIC in one turn, after which it is not asked for another batch: one frame
/// less, and there are 95 with that batch. Enough to spread a doorbell thin, few enough that other
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

/// What of a NIC an interface depends on: its address, what it can do, the longest frame there is
/// memory for, and the longest packet.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Basis([u8; 6], Capabilities, usize, usize);

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
    /// Whose turn it is to send first: that of connections, or of all other sockets. Where there is
    /// little room, whoever comes second finds none.
    streams_first: bool,
    /// The time of the last turn.
    now: Instant,
    seed: u64,
}

impl Engine {
    pub(super) fn new(pool: &'static Pool, config: &Config) -> Self {
        let mut pair = Pair::new(pool, config.name.clone(), Sequence::new(config.secret));
        let sockets = Sockets::new(config.seed);
        let addresses = Addresses::new(config);
        pair.device.dhcp = addresses.dhcp().is_some();
        let interface = new_interface(&mut pair.device, config.seed);
        let mut engine = Self {
            interface,
            basis: None,
            pair,
            sockets,
            addresses,
            groups: Groups::default(),
            announcer: Announcer::default(),
            streams_first: true,
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
        let (interface, sockets) = (&mut self.interface, &mut self.sockets);
        let (nic, was_active) = self.pair.detach(role, interface, sockets, self.now)?;
        if was_active {
            self.follow_switchover();
        }
        Some(nic)
    }

    /// Takes the NIC back that was lent for a reset. Returns whether another is active now.
    pub(super) fn take_back(&mut self, place: Place, nic: Box<dyn Nic>) -> bool {
        let is_active = self.pair.take_back(place, nic);
        if is_active {
            self.follow_switchover();
        }
        is_active
    }

    pub(super) fn switch_over_from(&mut self, role: Role) -> bool {
        let (interface, sockets) = (&mut self.interface, &mut self.sockets);
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
        self.pair.device.discovery.mac.0
    }

    /// Whether something can be sent to that address at all: there is one to send from, and a way.
    pub(super) fn reaches(&self, to: IpAddress) -> bool {
        let is_on_all = match to {
            IpAddress::Ipv4(to) => to.is_broadcast() || to.is_multicast(),
            IpAddress::Ipv6(to) => to.is_multicast(),
        };
        let own = self.addresses.in_use(self.mac());
        own.iter().any(|own| own.address().version() == to.version())
            && (is_on_all || self.pair.device.discovery.routes.next_hop(to).is_some())
    }

    /// Whether a datagram of so many bytes goes by [`send_long`](Self::send_long).
    pub(super) fn is_long(&self, to: IpAddress, len: usize) -> bool {
        matches!(to, IpAddress::Ipv6(_)) && fragments6::datagram_len(len) > self.pair.device.mtu()
    }

    /// Sends a datagram over IPv6 that no frame holds. `false` if there is no room for it now.
    pub(super) fn send_long(
        &mut self,
        port: u16,
        (to, to_port): (Ipv6Address, u16),
        len: usize,
        f: impl FnOnce(&mut [u8]),
    ) -> bool {
        let from = self.interface.get_source_address_ipv6(&to);
        let Some(token) = self.pair.device.transmit(self.now) else { return false };
        token.send_long(fragments6::datagram_len(len), |packet| {
            fragments6::write_datagram(packet, (from, to), (port, to_port), f);
        });
        true
    }

    /// Moves packets, a bounded number of them. Returns what to do then, and whether address, link
    /// or NIC has changed.
    pub(super) fn turn(&mut self, now: Instant) -> (Next, bool) {
        self.now = now;
        self.pair.device.end_flow();
        let received = self.receive(now);
        self.pair.device.tend(now);
        if self.pair.device.listeners.take_starved() {
            self.sockets.free_memory(now);
        }
        let (interface, sockets) = (&mut self.interface, &mut self.sockets);
        let switched = self.pair.switch_to_better(interface, sockets, now);
        if switched {
            self.follow_switchover();
        }
        let changed = switched | self.follow_link(now) | self.heed_notes(now);
        self.send_unasked(now);
        let sent = self.send(now);
        self.ask_for_neighbors(now);
        self.pair.device.flush();
        let room_is_awaited = self.pair.device.tell_of_room();
        self.sockets.reap(now);
        let next = if received >= RECEIVE_BUDGET || sent == SEND_BUDGET {
            Next::Again
        } else {
            self.sleep_until(room_is_awaited, now)
        };
        (next, changed)
    }

    fn receive(&mut self, now: Instant) -> usize {
        let (device, interface) = (&mut self.pair.device, &mut self.interface);
        let sockets = &mut self.sockets;
        let mut received = 0;
        while received < RECEIVE_BUDGET {
            match device.receive_batch(interface, sockets, now) {
                0 => break,
                frames => received += frames,
            }
        }
        received
    }

    fn send(&mut self, now: Instant) -> usize {
        self.sockets.connections.heed_timers(now);
        self.streams_first = !self.streams_first;
        let mut sent = 0;
        while sent < SEND_BUDGET && self.send_one_each(now) {
            sent += 1;
        }
        sent
    }

    /// Has every socket send a packet that has one. Returns whether one was sent.
    fn send_one_each(&mut self, now: Instant) -> bool {
        if !self.finish_fragments(now) {
            return false;
        }
        let (interface, device) = (&mut self.interface, &mut self.pair.device);
        let mut sent = false;
        for streams in [self.streams_first, !self.streams_first] {
            sent |= if streams {
                self.sockets.connections.send(interface, device, now)
            } else {
                let result = interface.poll_egress(now, device, self.sockets.set());
                result == PollResult::SocketStateChanged
            };
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
                self.addresses.restart(elsewhere, now);
                if elsewhere {
                    self.pair.device.discovery.neighbors.doubt();
                    self.pair.device.set_mtu_limit(self.addresses.mtu());
                    self.renew_interface();
                }
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
        let mac = self.mac();
        let device = &mut self.pair.device;
        let duplicate = device.discovery.take_duplicate();
        let notes = &mut device.notes;
        let own_rarp = notes.own_rarp;
        let said = (&notes.advertised[..], &notes.dhcp[..]);
        let changed = self.addresses.poll(said, duplicate, mac, now);
        notes.clear();
        if changed {
            device.set_mtu_limit(self.addresses.mtu());
            self.renew_interface();
            self.apply_addresses();
            self.announcer.start(now);
        }
        // QEMU announces the address of a guest that has moved on the standby, five times in a
        // second, however early the primary is active again. Switches believe it, so it is
        // answered.
        if own_rarp && self.pair.link().up {
            self.announcer.start(now);
            self.pair.expect_late_frames(now);
        }
        changed
    }

    /// Sends what is due without any socket's doing: answers to neighbours, what has waited for
    /// theirs, and what addresses and announcements call for.
    fn send_unasked(&mut self, now: Instant) {
        let device = &mut self.pair.device;
        device.send_ready();
        while let Some(answer) = device.discovery.next_answer() {
            // Without room, they ask again.
            match answer {
                Answer::Arp { address, station, asker } => {
                    emit::arp_reply(device, address, (station, asker))
                }
                Answer::Advertise { address, asker } => {
                    emit::neighbor_advertisement(device, address, asker, now)
                }
            };
        }
        if !device.link_up {
            return;
        }
        if let Some(dhcp) = self.addresses.dhcp_mut()
            && let Some(message) = dhcp.message(now)
            && emit::dhcp(device, &message, now)
        {
            dhcp.sent(now);
        }
        while let Some(address) = self.addresses.to_probe()
            && emit::address_probe(device, address, now)
        {
            self.addresses.probed(address, now);
        }
        if self.addresses.solicit_at().is_some_and(|at| now >= at)
            && emit::router_solicitation(device, link_local(&self.interface), now)
        {
            self.addresses.solicited(now);
        }
        let own = self.addresses.in_use(device.discovery.mac.0);
        self.announcer.poll(&own, &self.groups, device, now);
    }

    /// Asks for the neighbours that something waits for.
    fn ask_for_neighbors(&mut self, now: Instant) {
        let device = &mut self.pair.device;
        while device.link_up
            && let Some(question) = device.discovery.neighbors.next_question(now)
        {
            let station = question.station;
            let sent = match question.address {
                IpAddress::Ipv4(wanted) => self.addresses.lease().is_none_or(|own| {
                    emit::arp_request(device, own.address.address(), wanted, station)
                }),
                IpAddress::Ipv6(wanted) => {
                    link_local(&self.interface).or_else(|| self.interface.ipv6_addr()).is_none_or(
                        |own| emit::neighbor_solicitation(device, own, wanted, station, now),
                    )
                }
            };
            if !sent {
                return;
            }
            device.discovery.neighbors.asked(question.address, now);
        }
    }

    fn sleep_until(&mut self, room_is_awaited: bool, now: Instant) -> Next {
        let link = self.pair.link();
        let connections = self.sockets.connections.due_at();
        let sockets = self.interface.poll_at(now, self.sockets.set());
        // Without a link these are no reason to stay awake: they start anew with it.
        let neighbors = self.pair.device.discovery.neighbors.due_at();
        let unasked = [self.announcer.due_at(), self.addresses.send_at(), neighbors];
        let unasked = unasked.into_iter().flatten();
        let awaited = room_is_awaited.then_some(now);
        let to_send = sockets
            .into_iter()
            .chain(connections)
            .chain(unasked.filter(|_| link.up))
            .chain(awaited)
            .min();
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
    /// the one before keeps the interface, and with it the fragments of datagrams.
    fn renew_interface(&mut self) {
        let device = &mut self.pair.device;
        let Some(nic) = device.nic() else { return };
        let basis = Basis(nic.mac(), nic.capabilities(), device.longest(), device.mtu());
        if self.basis != Some(basis) {
            self.basis = Some(basis);
            // They were made for what the NIC before could do.
            device.discovery.neighbors.drop_kept();
            self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            self.interface = new_interface(&mut self.pair.device, self.seed);
            self.groups.rejoin(&mut self.interface);
            self.apply_addresses();
        }
        self.apply_groups();
    }

    /// Puts addresses, routes and name servers into use, and the groups that follow from them.
    fn apply_addresses(&mut self) {
        self.addresses.apply(&mut self.interface, &mut self.pair.device.discovery);
        let name_servers: Vec<_> = self.addresses.name_servers().collect();
        self.sockets.set_name_servers(&name_servers);
        self.apply_groups();
    }

    /// Has the interface's groups received, by the NIC and in place.
    fn apply_groups(&mut self) {
        let discovery = &self.pair.device.discovery;
        let ipv6: heapless::Vec<_, ADDRESSES> = discovery.ipv6().take(ADDRESSES).collect();
        let destinations = discovery.destinations().chain(self.groups.all()).collect();
        self.groups.follow(ipv6.into_iter(), &mut self.interface);
        self.pair.device.end_flow();
        self.sockets.connections.wake_all();
        self.pair.device.intake.set_destinations(destinations);
        let stations = self.groups.stations();
        if let Some(nic) = self.pair.device.nic_mut() {
            nic.accept_multicast(&stations);
        }
    }
}

fn new_interface(device: &mut Device, seed: u64) -> Interface {
    let mut config = iface::Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    Interface::new(config, device, Instant::ZERO)
}

fn link_local(interface: &Interface) -> Option<Ipv6Address> {
    interface.ip_addrs().iter().find_map(|cidr| match cidr.address() {
        IpAddress::Ipv6(own) => Some(own).filter(Ipv6Address::is_unicast_link_local),
        IpAddress::Ipv4(_) => None,
    })
}
