//! Two NICs behind one interface, after Linux's net_failover: a primary, usually a passthrough
//! device that comes and goes, and a standby ([`Nic::is_standby`]) that takes its place meanwhile.
//!
//! One of them is active. The primary is whenever its link is up, the standby whenever that is not
//! so. The inactive one sends nothing, and what it receives is dropped: broadcasts would arrive
//! twice. To the rest of the network, switching over is a station's move from one port of a switch
//! to another, which announcements tell it. Sockets, addresses and leases do not notice.
//!
//! A switch learns of a move a moment later, and frames are on their way besides. So for a moment
//! the NIC that was active is still listened to, and before one is detached the other one can be
//! activated: a window of frames lost at once would cost a connection a retransmission timeout, a
//! second by RFC 6298.
//!
//! The active NIC is the [`Device`]'s, so that a packet's way is the same with and without a pair.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::rc::Rc;

use smoltcp::iface::Interface;
use smoltcp::time::{Duration, Instant};

use super::device::Device;
use super::frame::has_valid_checksums;
use super::sequence::Sequence;
use super::sockets::Sockets;
use crate::dma::Pool;
use crate::irq::Interrupt;
use crate::nic::{BATCH, Link, Nic};

/// How often the inactive NIC is looked at: its link, and what it has received in vain.
const LOOK: Duration = Duration::from_millis(100);
/// How long after it was active that is not in vain.
const LATE: Duration = Duration::from_millis(100);
/// How often it is looked at then.
const LOOK_FOR_LATE: Duration = Duration::from_millis(1);
/// Before any time there is.
const AT_ONCE: Instant = Instant::ZERO;
/// Frames taken from a NIC, or dropped, in one go. More than a driver's ring holds.
const MOST: usize = 1024;

/// What a NIC is to its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one in use whenever it can be. Every NIC that is no standby.
    Primary,
    /// Takes the primary's place.
    Standby,
}

impl Role {
    /// What a NIC is made for.
    pub fn of(nic: &dyn Nic) -> Self {
        if nic.is_standby() { Self::Standby } else { Self::Primary }
    }
}

/// Which NIC of a pair. One that is alone is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Active,
    Inactive,
}

/// What the active NIC's link has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkEvent {
    /// Frames can pass again; `elsewhere`: perhaps to another network than before.
    Up { elsewhere: bool },
    /// Frames pass no more.
    Down,
    /// Another speed.
    Changed,
}

/// A NIC, or two.
pub(super) struct Pair {
    /// What lines on the console begin with.
    name: Cow<'static, str>,
    /// The active NIC's, if there is any.
    pub(super) device: Device,
    inactive: Inactive,
    /// The active NIC's. One handle for as long as the NIC stays: a handle remembers what it saw.
    interrupt: Option<Rc<Interrupt>>,
    link: Link,
    /// Whether the active NIC's link has been up and went down again.
    link_lost: bool,
}

/// The NIC that is not active.
#[derive(Default)]
struct Inactive {
    nic: Option<Box<dyn Nic>>,
    look_at: Option<Instant>,
    /// Until then it gets frames that were sent to it while it was active.
    late_until: Option<Instant>,
    /// It is about to be detached, and is not activated again.
    leaving: bool,
}

impl Inactive {
    /// For a moment, frames will still be sent to it.
    fn expect_late_frames(&mut self, now: Instant) {
        self.late_until = Some(now + LATE);
        self.look_at = self.nic.is_some().then_some(now);
    }

    fn needs_reset(&self) -> bool {
        self.nic.as_ref().is_some_and(|nic| nic.needs_reset())
    }

    fn is_up(&self) -> bool {
        self.nic.as_ref().is_some_and(|nic| nic.link().up)
    }
}

impl Pair {
    pub(super) fn new(pool: &'static Pool, name: Cow<'static, str>, sequence: Sequence) -> Self {
        Self {
            name,
            device: Device::new(pool, sequence),
            inactive: Inactive::default(),
            interrupt: None,
            link: Link::default(),
            link_lost: false,
        }
    }

    /// What lines on the console begin with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The active NIC's link as it was last seen; down when there is none.
    pub(super) fn link(&self) -> Link {
        self.link
    }

    /// What the active NIC interrupts with.
    pub(super) fn interrupt(&self) -> Option<Rc<Interrupt>> {
        self.interrupt.clone()
    }

    /// Turns the active NIC's interrupts on. `false` if there is something to do: work arrived
    /// while they were off, or the link changed, which is known from here on only.
    pub(super) fn arm(&mut self) -> bool {
        let link = self.link;
        self.device.nic_mut().is_none_or(|nic| nic.arm() && nic.link() == link)
    }

    /// When [`switch_to_better`](Self::switch_to_better) has to run even if nothing happens.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.inactive.look_at
    }

    /// For a moment, frames for the active NIC may be sent to the inactive one.
    pub(super) fn expect_late_frames(&mut self, now: Instant) {
        self.inactive.expect_late_frames(now);
    }

    /// Takes a NIC: the only one, or one that makes a pair with the one there is. Returns what it
    /// is, and whether it is active; the NIC if it does not fit.
    pub(super) fn attach(&mut self, nic: Box<dyn Nic>) -> Result<(Role, bool), Box<dyn Nic>> {
        let role = Role::of(&*nic);
        let Some(other) = self.device.nic() else {
            self.insert(nic);
            (self.link, self.link_lost) = (Link::default(), false);
            return Ok((role, true));
        };
        let fits = Role::of(other) != role && other.mac() == nic.mac();
        if !fits || self.inactive.nic.is_some() {
            return Err(nic);
        }
        self.inactive =
            Inactive { nic: Some(nic), look_at: Some(AT_ONCE), late_until: None, leaving: false };
        Ok((role, false))
    }

    /// Gives a NIC back, and whether it was active. If so, the other one is now, if there is one.
    pub(super) fn detach(
        &mut self,
        role: Role,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) -> Option<(Box<dyn Nic>, bool)> {
        if self.inactive.nic.as_ref().is_some_and(|nic| Role::of(&**nic) == role) {
            self.inactive.look_at = None;
            self.look_at_inactive(interface, sockets, now);
            return core::mem::take(&mut self.inactive).nic.map(|nic| (nic, false));
        }
        if self.device.nic().is_none_or(|nic| Role::of(nic) != role) {
            return None;
        }
        self.drain(interface, sockets, now);
        let nic = self.device.remove()?;
        if self.inactive.nic.is_some() {
            self.activate();
        } else {
            self.interrupt = None;
            self.link = Link::default();
        }
        Some((nic, true))
    }

    /// The NIC that has to be reset, and cannot wait for somebody to ask for it.
    pub(super) fn needs_reset(&self) -> Option<Place> {
        if self.device.nic().is_some_and(Nic::needs_reset) {
            return Some(Place::Active);
        }
        self.inactive.needs_reset().then_some(Place::Inactive)
    }

    /// A NIC to reset. Nobody is to take its place; without the active one nothing moves.
    pub(super) fn lend(&mut self, place: Place) -> Option<Box<dyn Nic>> {
        match place {
            Place::Active => self.device.remove(),
            Place::Inactive => {
                self.inactive.look_at = None;
                self.inactive.nic.take()
            }
        }
    }

    /// Takes the NIC that was lent back. Its link may be another. Returns whether it is active now
    /// and was not before: the other one has been detached meanwhile.
    pub(super) fn take_back(&mut self, place: Place, nic: Box<dyn Nic>) -> bool {
        match place {
            Place::Active => {
                self.device.insert(nic);
                self.device.link_up = self.link.up;
                false
            }
            Place::Inactive if self.device.nic().is_some() => {
                (self.inactive.nic, self.inactive.look_at) = (Some(nic), Some(AT_ONCE));
                false
            }
            Place::Inactive => {
                self.inactive = Inactive::default();
                self.insert(nic);
                (self.link, self.link_lost) = (Link::default(), false);
                true
            }
        }
    }

    /// Activates the other NIC instead of this one, which is about to be detached but still
    /// receives what is on its way to it. Returns whether there is another to do so.
    pub(super) fn switch_over_from(
        &mut self,
        role: Role,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) -> bool {
        let is_active = self.device.nic().is_some_and(|nic| Role::of(nic) == role);
        let possible = is_active && self.inactive.is_up();
        if possible {
            self.switch_over(true, interface, sockets, now);
        }
        possible
    }

    /// Activates the NIC that is the better one now. Returns whether that was another.
    pub(super) fn switch_to_better(
        &mut self,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) -> bool {
        self.look_at_inactive(interface, sockets, now);
        let Some(nic) = self.device.nic() else { return false };
        let other_is_better = match Role::of(nic) {
            Role::Primary => !nic.link().up,
            Role::Standby => !self.inactive.leaving,
        };
        let possible = other_is_better && self.inactive.is_up();
        if possible {
            self.switch_over(false, interface, sockets, now);
        }
        possible
    }

    /// Follows the active NIC's link.
    pub(super) fn poll_link(&mut self) -> Option<LinkEvent> {
        let link = self.device.nic().map_or(Link::default(), |nic| nic.link());
        if link == self.link {
            return None;
        }
        let event = match (self.link.up, link.up) {
            (_, false) => {
                self.link_lost = true;
                LinkEvent::Down
            }
            // The first link of a NIC leads to the network its predecessor was on. A link that
            // comes back may lead anywhere.
            (false, true) => LinkEvent::Up { elsewhere: core::mem::take(&mut self.link_lost) },
            (true, true) => LinkEvent::Changed,
        };
        if link.up {
            crate::println!("{}: link up {} Mbit/s", self.name, link.speed);
        } else {
            crate::println!("{}: link down", self.name);
        }
        self.link = link;
        self.device.link_up = link.up;
        Some(event)
    }

    fn switch_over(
        &mut self,
        leaving: bool,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) {
        self.drain(interface, sockets, now);
        let nic = self.device.remove();
        self.activate();
        self.inactive = Inactive { nic, look_at: None, late_until: None, leaving };
        self.inactive.expect_late_frames(now);
    }

    /// Processes what the active NIC has received so far: it is about to go.
    fn drain(&mut self, interface: &mut Interface, sockets: &mut Sockets, now: Instant) {
        // This may be between two turns, in which connections have come and gone.
        self.device.end_flow();
        for _ in 0..MOST / BATCH {
            if self.device.receive_batch(interface, sockets, now) == 0 {
                break;
            }
        }
        self.device.flush();
    }

    /// Empties the inactive NIC, and has it notice a change of its link.
    fn look_at_inactive(&mut self, interface: &mut Interface, sockets: &mut Sockets, now: Instant) {
        let Inactive { nic: Some(nic), look_at, late_until, .. } = &mut self.inactive else {
            return;
        };
        if look_at.is_some_and(|at| now < at) {
            return;
        }
        let is_late = late_until.is_some_and(|until| now < until);
        let mac = nic.mac();
        for _ in 0..MOST {
            match nic.receive() {
                // Others than these have come to both.
                Some(frame)
                    if is_late && frame.starts_with(&mac) && has_valid_checksums(&frame) =>
                {
                    self.device.process(frame, interface, sockets, now);
                }
                Some(_) => {}
                // It is not armed until it is reset.
                None if nic.arm() || nic.needs_reset() => break,
                None => {}
            }
        }
        self.device.flush_gro(interface, sockets, now);
        nic.flush();
        *look_at = Some(now + if is_late { LOOK_FOR_LATE } else { LOOK });
    }

    /// Makes the inactive NIC the active one.
    fn activate(&mut self) {
        let Some(mut nic) = core::mem::take(&mut self.inactive).nic else { return };
        // What it received up to now, the other one did too, or it was meant for nobody.
        for _ in 0..MOST {
            if nic.receive().is_none() && (nic.arm() || nic.needs_reset()) {
                break;
            }
        }
        nic.flush();
        crate::println!("{}: now using {}", self.name, nic.family());
        self.link = nic.link();
        self.insert(nic);
        self.device.link_up = self.link.up;
    }

    fn insert(&mut self, nic: Box<dyn Nic>) {
        self.interrupt = Some(Rc::new(nic.interrupt()));
        self.device.insert(nic);
    }
}
