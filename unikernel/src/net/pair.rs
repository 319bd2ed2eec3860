//! Two NICs behind one interface, after Linux's net_failover: a primary, usually a passthrough device that
//! comes and goes, and a standby ([`Nic::is_standby`]) that takes its place meanwhile.
//!
//! One of them is in use. The primary is whenever its link is up, the standby whenever that is not so; the other one sends
//! nothing, and what it receives is dropped: broadcasts would arrive twice. To the rest of the network a move between them is that of
//! a station from one port of a switch to another, which gratuitous ARP and an unsolicited neighbour advertisement tell it. Sockets,
//! addresses and leases do not notice.
//!
//! A switch learns of a move a moment later, and frames are on their way besides. So for a moment the NIC that was in use is still
//! listened to, and before one leaves for good the other one can take its place ([`Stack::step_aside`]): a window of frames lost at
//! once would cost a connection a retransmission timeout, a second by RFC 6298.
//!
//! The NIC in use is the [`Device`](super::device::Device)'s, so that a packet's way is the same with and without a pair.

use alloc::boxed::Box;
use alloc::rc::Rc;

use smoltcp::iface::PollIngressSingleResult;
use smoltcp::time::{Duration, Instant};

use super::announce::Announce;
use super::sound::is_sound;
use super::stack::{Inner, Stack};
use crate::nic::{Link, Nic};

/// How often the NIC that is not in use is looked at: its link, and what it has received in vain.
const LOOK: Duration = Duration::from_millis(100);
/// How long after a move that is not in vain.
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
    /// Steps in for the primary.
    Standby,
}

impl Role {
    /// What a NIC is made for.
    pub fn of(nic: &dyn Nic) -> Self {
        if nic.is_standby() { Self::Standby } else { Self::Primary }
    }
}

/// The NIC that is not in use.
#[derive(Default)]
pub(super) struct Idle {
    nic: Option<Box<dyn Nic>>,
    look_at: Option<Instant>,
    /// Until then it gets frames that were sent to it while it was in use.
    late_until: Option<Instant>,
    /// It has stepped aside, to leave.
    leaves: bool,
}

impl Idle {
    /// When to look at it.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// One that was not in use before.
    fn new(nic: Box<dyn Nic>) -> Self {
        Self { nic: Some(nic), look_at: Some(AT_ONCE), late_until: None, leaves: false }
    }

    /// One that was in use up to `now`.
    fn previous(nic: Option<Box<dyn Nic>>, leaves: bool, now: Instant) -> Self {
        let mut idle = Self { nic, look_at: None, late_until: None, leaves };
        idle.expect(now);
        idle
    }

    /// For a moment, frames will still be sent to it.
    pub(super) fn expect(&mut self, now: Instant) {
        self.late_until = Some(now + LATE);
        self.look_at = self.nic.is_some().then_some(now);
    }

    fn is_up(&self) -> bool {
        self.nic.as_ref().is_some_and(|nic| nic.link().up)
    }
}

impl Stack {
    /// Gives the stack a NIC: its only one, or one that makes a pair with the one it has. The address is announced
    /// as soon as the link is up, and what sockets had queued goes out.
    ///
    /// # Errors
    /// The NIC, if the stack has one already that is no match: two are a pair if one of them is a standby and both
    /// have the same station address.
    pub fn attach(&self, nic: Box<dyn Nic>) -> Result<Role, Box<dyn Nic>> {
        let inner = &mut *self.shared.inner.borrow_mut();
        let role = Role::of(&*nic);
        match &inner.device.nic {
            None => {
                inner.install(nic);
                inner.link = Link::default();
                inner.link_lost = false;
                inner.announce = Announce::default();
            }
            Some(other) => {
                let fits = Role::of(&**other) != role && other.mac() == nic.mac();
                if !fits || inner.idle.nic.is_some() {
                    return Err(nic);
                }
                inner.idle = Idle::new(nic);
            }
        }
        self.shared.work.signal(());
        Ok(role)
    }

    /// Has the other NIC of a pair take the place of this one, which gets none back but still receives what is on its way to it.
    /// Returns whether there is another to do so: then it is time to [`detach`](Self::detach) this one some milliseconds later.
    pub fn step_aside(&self, role: Role) -> bool {
        let inner = &mut *self.shared.inner.borrow_mut();
        let is_in_use = inner.device.nic.as_ref().is_some_and(|nic| Role::of(&**nic) == role);
        if !is_in_use || !inner.idle.is_up() {
            return false;
        }
        inner.change_places(true, inner.now);
        self.shared.work.signal(());
        self.shared.changed.set(());
        true
    }

    /// Takes a NIC out of the stack. If it was in use and there is another, that one is from now on. Otherwise sockets
    /// stay as they are, and what they send waits for the next NIC.
    pub fn detach(&self, role: Role) -> Option<Box<dyn Nic>> {
        let inner = &mut *self.shared.inner.borrow_mut();
        let nic = inner.take(role)?;
        self.shared.work.signal(());
        self.shared.changed.set(());
        Some(nic)
    }

    /// Calls `f` with the NIC of a pair that is not in use.
    pub fn with_idle_nic<R>(&self, f: impl FnOnce(&mut dyn Nic) -> R) -> Option<R> {
        let inner = &mut *self.shared.inner.borrow_mut();
        let nic = inner.idle.nic.as_mut()?;
        Some(f(&mut **nic))
    }
}

impl Inner {
    /// Moves to the NIC that is the better one now. Returns whether that was another.
    pub(super) fn choose_nic(&mut self, now: Instant) -> bool {
        self.look_at_idle(now);
        let Some(nic) = &self.device.nic else { return false };
        let is_better = match Role::of(&**nic) {
            Role::Primary => !nic.link().up,
            Role::Standby => !self.idle.leaves,
        };
        if !is_better || !self.idle.is_up() {
            return false;
        }
        self.change_places(false, now);
        true
    }

    fn change_places(&mut self, leaves: bool, now: Instant) {
        self.drain();
        let previous = self.device.remove();
        self.step_in();
        self.idle = Idle::previous(previous, leaves, now);
    }

    /// Empties the idle NIC, and has it notice a change of its link.
    fn look_at_idle(&mut self, now: Instant) {
        if self.idle.look_at.is_some_and(|at| now < at) {
            return;
        }
        let is_late = self.idle.late_until.is_some_and(|until| now < until);
        for _ in 0..MOST {
            let Some(nic) = &mut self.idle.nic else { return };
            match nic.receive() {
                // Others than these have come to both.
                Some(frame) if is_late && frame.starts_with(&nic.mac()) && is_sound(&frame) => {
                    self.device.late = Some(frame);
                    self.interface.poll_ingress_single(now, &mut self.device, &mut self.sockets);
                }
                Some(_) => {}
                None if nic.arm() => break,
                None => {}
            }
        }
        if let Some(nic) = &mut self.idle.nic {
            nic.flush();
        }
        self.idle.look_at = Some(now + if is_late { LOOK_FOR_LATE } else { LOOK });
    }

    /// Takes the NIC of that role out.
    fn take(&mut self, role: Role) -> Option<Box<dyn Nic>> {
        let is = |nic: &Option<Box<dyn Nic>>| nic.as_ref().is_some_and(|n| Role::of(&**n) == role);
        if is(&self.idle.nic) {
            self.idle.look_at = None;
            self.look_at_idle(self.now);
            return core::mem::take(&mut self.idle).nic;
        }
        if !is(&self.device.nic) {
            return None;
        }
        self.drain();
        let nic = self.device.remove();
        if self.idle.nic.is_some() {
            self.step_in();
        } else {
            self.interrupt = None;
            self.link = Link::default();
            self.announce = Announce::default();
        }
        nic
    }

    /// Takes in what the NIC in use has received so far: it is about to go, and a window full of frames lost at once
    /// would cost a connection a timeout.
    fn drain(&mut self) {
        for _ in 0..MOST {
            let (now, device, sockets) = (self.now, &mut self.device, &mut self.sockets);
            let result = self.interface.poll_ingress_single(now, device, sockets);
            if result == PollIngressSingleResult::None {
                break;
            }
        }
        self.device.flush();
    }

    /// Brings the idle NIC into use.
    fn step_in(&mut self) {
        // What it received up to now, the other one did too, or it was meant for nobody.
        self.idle.look_at = None;
        self.idle.late_until = None;
        self.look_at_idle(AT_ONCE);
        let Some(nic) = core::mem::take(&mut self.idle).nic else { return };
        crate::println!("nic: now using {}", nic.family());
        self.link = nic.link();
        self.announce = Announce { sent: 0, at: self.link.up.then_some(AT_ONCE) };
        self.install(nic);
        self.device.link_up = self.link.up;
    }

    /// Makes `nic` the one in use.
    fn install(&mut self, nic: Box<dyn Nic>) {
        self.interrupt = Some(Rc::new(nic.interrupt()));
        self.device.insert(nic);
        self.renew_interface();
    }
}
