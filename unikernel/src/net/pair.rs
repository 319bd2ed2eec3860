//! Two NICs behind one interface, after Linux's net_failover: a primary, usually a passthrough device that
//! comes and goes, and a standby ([`Nic::is_standby`]) that takes its place meanwhile.
//!
//! One of them is in use. The primary is whenever its link is up, the standby whenever that is not so; the other one sends
//! nothing, and what it receives is dropped: broadcasts would arrive twice. To the rest of the network a move between them is that of
//! a station from one port of a switch to another, which gratuitous ARP and an unsolicited neighbour advertisement tell it. Sockets,
//! addresses and leases do not notice.
//!
//! The NIC in use is the [`Device`](super::device::Device)'s, so that a packet's way is the same with and without a pair.

use alloc::boxed::Box;
use alloc::rc::Rc;

use smoltcp::iface::PollIngressSingleResult;
use smoltcp::time::{Duration, Instant};

use super::announce::Announce;
use super::stack::{Inner, Stack};
use crate::nic::{Link, Nic};

/// How often the NIC that is not in use is looked at: its link, and what it has received in vain.
const LOOK: Duration = Duration::from_millis(100);
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
    fn of(nic: &dyn Nic) -> Self {
        if nic.is_standby() { Self::Standby } else { Self::Primary }
    }
}

/// The NIC that is not in use.
#[derive(Default)]
pub(super) struct Idle {
    nic: Option<Box<dyn Nic>>,
    look_at: Option<Instant>,
}

impl Idle {
    /// When to look at it.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    fn set(&mut self, nic: Option<Box<dyn Nic>>, now: Instant) {
        self.look_at = nic.is_some().then_some(now);
        self.nic = nic;
    }

    /// Drops what it has received, and has it notice a change of its link.
    fn look(&mut self, now: Instant) {
        let Some(nic) = &mut self.nic else { return };
        if self.look_at.is_some_and(|at| now < at) {
            return;
        }
        for _ in 0..MOST {
            if nic.receive().is_none() && nic.arm() {
                break;
            }
        }
        nic.flush();
        self.look_at = Some(now + LOOK);
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
                inner.idle.set(Some(nic), AT_ONCE);
            }
        }
        self.shared.work.signal(());
        Ok(role)
    }

    /// Takes a NIC out of the stack. If it was in use and there is another, that one is from now on. Otherwise sockets
    /// stay as they are, and what they send waits for the next NIC.
    pub fn detach(&self, role: Role) -> Option<Box<dyn Nic>> {
        let inner = &mut *self.shared.inner.borrow_mut();
        let nic = inner.take(role)?;
        self.shared.work.signal(());
        self.shared.changed.signal(());
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
        self.idle.look(now);
        let Some(nic) = &self.device.nic else { return false };
        let is_better = match Role::of(&**nic) {
            Role::Primary => !nic.link().up,
            Role::Standby => true,
        };
        if !is_better || !self.idle.is_up() {
            return false;
        }
        self.drain();
        let previous = self.device.remove();
        self.step_in();
        self.idle.set(previous, now + LOOK);
        true
    }

    /// Takes the NIC of that role out.
    fn take(&mut self, role: Role) -> Option<Box<dyn Nic>> {
        let is = |nic: &Option<Box<dyn Nic>>| nic.as_ref().is_some_and(|n| Role::of(&**n) == role);
        if is(&self.idle.nic) {
            self.idle.look_at = None;
            return self.idle.nic.take();
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
        self.idle.look(AT_ONCE);
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
