//! The stack as tasks share it, and the loop that moves its packets.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;

use embassy_futures::select::{select, select3};
use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::Timer;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::AnySocket;
use smoltcp::time::Instant;
use smoltcp::wire::Ipv6Cidr;

use super::config::Config;
use super::engine::{Engine, Next};
use super::error::Error;
use super::ipv4::Lease;
use super::pair::{Place, Role};
use super::sockets::Sockets;
use super::traffic::Traffic;
use crate::dma::Pool;
use crate::nic::{Link, Nic, ResetError};
use crate::watch::{Watch, Watcher};

/// What [`Stack::drain`] takes at most. A NIC that never runs dry is to be left all the same.
const DRAIN: embassy_time::Duration = embassy_time::Duration::from_millis(50);

/// One network interface: addresses, sockets and, most of the time, a NIC. A handle, cheap to
/// clone.
#[derive(Clone)]
pub struct Stack {
    shared: Rc<Shared>,
}

struct Shared {
    engine: RefCell<Engine>,
    /// Something happened that the run loop must look at.
    work: Signal<NoopRawMutex, ()>,
    /// A turn of the run loop has left nothing to do.
    rested: Cell<bool>,
    /// Set when address, link or NIC may have changed.
    changed: Watch<()>,
    reset: Watch<Reset>,
    /// The other NIC of a pair is being reset, and the stack does not have it.
    resets_other: Watch<bool>,
}

/// A reset of the active NIC, which the run loop carries out.
#[derive(Clone, Copy)]
enum Reset {
    Wanted,
    /// The stack does not have the NIC.
    UnderWay,
    /// None is wanted. How the last one ended, if there was a NIC.
    Done(Option<Result<(), ResetError>>),
}

impl Stack {
    /// A stack without a NIC. Nothing moves until [`run`](Self::run) does.
    pub fn new(pool: &'static Pool, config: Config) -> Self {
        Self {
            shared: Rc::new(Shared {
                engine: RefCell::new(Engine::new(pool, &config)),
                work: Signal::new(),
                rested: Cell::new(false),
                changed: Watch::new(()),
                reset: Watch::new(Reset::Done(None)),
                resets_other: Watch::new(false),
            }),
        }
    }

    /// Moves packets, for ever. One task runs it.
    pub async fn run(&self) -> ! {
        loop {
            // A turn first: if the NIC to reset is one of a pair, the other takes its place.
            let next = self.turn_now();
            match self.due_reset() {
                None => self.rest(next).await,
                Some(Place::Active) => self.reset().await,
                Some(Place::Inactive) => {
                    select(self.reset_other(), self.move_packets()).await;
                }
            }
        }
    }

    /// Moves packets, for ever, and resets nothing.
    async fn move_packets(&self) -> ! {
        loop {
            let next = self.turn_now();
            self.rest(next).await;
        }
    }

    fn turn_now(&self) -> Next {
        let now = embassy_time::Instant::now().as_micros();
        self.turn(Instant::from_micros(now as i64))
    }

    /// What comes between two turns.
    async fn rest(&self, next: Next) {
        if let Next::Sleep(until) = next {
            self.sleep(until).await;
        }
        // The other tasks' turn, even if the NIC never runs dry.
        yield_now().await;
    }

    /// The NIC that is to be reset now.
    fn due_reset(&self) -> Option<Place> {
        if matches!(self.shared.reset.get(), Reset::Wanted) {
            return Some(Place::Active);
        }
        self.with(|engine| engine.pair.needs_reset())
    }

    /// Waits until what has been received by now is dealt with. For tasks that keep the processor
    /// for long: the ring of a NIC holds what arrives in some milliseconds.
    pub async fn drain(&self) {
        let deadline = embassy_time::Instant::now() + DRAIN;
        self.shared.rested.set(false);
        self.wake();
        while !self.shared.rested.get() && embassy_time::Instant::now() < deadline {
            yield_now().await;
        }
    }

    /// Gives the stack a NIC: its only one, or one that makes a pair with the one it has. The
    /// address is announced as soon as the link is up, and what sockets had queued goes out.
    ///
    /// # Errors
    /// The NIC, if the stack has one already that is no match: two are a pair if one of them is a
    /// standby and both have the same station address. Also while it resets the one it has: see
    /// [`settled`](Self::settled).
    pub fn attach(&self, nic: Box<dyn Nic>) -> Result<Role, Box<dyn Nic>> {
        if self.is_resetting() {
            return Err(nic);
        }
        let role = self.with(|engine| engine.attach(nic))?;
        self.wake();
        self.shared.changed.set(());
        Ok(role)
    }

    /// Takes a NIC out of the stack. If it was active and there is another, that one is from now
    /// on. Otherwise sockets stay as they are, and what they send waits for the next NIC. `None`
    /// also for one that is being reset: see [`settled`](Self::settled).
    pub fn detach(&self, role: Role) -> Option<Box<dyn Nic>> {
        let nic = self.with(|engine| engine.detach(role))?;
        self.wake();
        self.shared.changed.set(());
        Some(nic)
    }

    /// Activates the other NIC of a pair instead of this one, which is not activated again but
    /// still receives what is on its way to it. Returns whether there is another to do so: then it
    /// is time to [`detach`](Self::detach) this one some milliseconds later.
    pub fn switch_over_from(&self, role: Role) -> bool {
        let switched = self.with(|engine| engine.switch_over_from(role));
        if switched {
            self.wake();
            self.shared.changed.set(());
        }
        switched
    }

    /// Announces the addresses again: the machine is somewhere else on the network than it was.
    pub fn announce(&self) {
        if self.with(Engine::announce) {
            self.wake();
        }
    }

    /// Calls `f`, which may not call the stack, with the active NIC.
    pub fn with_nic<R>(&self, f: impl FnOnce(&mut dyn Nic) -> R) -> Option<R> {
        self.with(|engine| {
            let nic = engine.pair.device.nic_mut()?;
            Some(f(nic))
        })
    }

    /// Has the run loop reset the active NIC, which other tasks do not wait for. Sockets stay as
    /// they are; what was on the way is lost. If it is being reset already, that is waited for.
    ///
    /// `None` if there is no NIC.
    pub async fn reset_nic(&self) -> Option<Result<(), ResetError>> {
        let mut watcher = self.shared.reset.watcher();
        if !matches!(self.shared.reset.get(), Reset::UnderWay) {
            self.shared.reset.set(Reset::Wanted);
            self.wake();
        }
        loop {
            if let Reset::Done(result) = watcher.changed().await {
                return result;
            }
        }
    }

    /// Waits until no NIC is being reset, so that all there are can be detached.
    pub async fn settled(&self) {
        let mut active = self.shared.reset.watcher();
        let mut other = self.shared.resets_other.watcher();
        while self.is_resetting() {
            select(active.changed(), other.changed()).await;
        }
    }

    fn is_resetting(&self) -> bool {
        matches!(self.shared.reset.get(), Reset::UnderWay) || self.shared.resets_other.get()
    }

    /// Resets the active NIC.
    async fn reset(&self) {
        let result = match self.with(|engine| engine.pair.lend(Place::Active)) {
            Some(nic) => {
                self.shared.reset.set(Reset::UnderWay);
                Some(self.reset_lent(Place::Active, nic).await)
            }
            None => None,
        };
        self.shared.reset.set(Reset::Done(result));
    }

    /// Resets the inactive NIC of a pair.
    async fn reset_other(&self) {
        if let Some(nic) = self.with(|engine| engine.pair.lend(Place::Inactive)) {
            self.shared.resets_other.set(true);
            // How it ends, the console says.
            let _ = self.reset_lent(Place::Inactive, nic).await;
            self.shared.resets_other.set(false);
        }
    }

    async fn reset_lent(&self, place: Place, mut nic: Box<dyn Nic>) -> Result<(), ResetError> {
        let result = nic.reset().await;
        let is_other = self.with(|engine| {
            match (&result, engine.pair.name()) {
                (Ok(()), name) => log::info!("{name}: {} reset", nic.family()),
                (Err(error), name) => log::error!("{name}: {}: {error}", nic.family()),
            }
            engine.take_back(place, nic)
        });
        if is_other {
            self.shared.changed.set(());
        }
        result
    }

    /// Becomes a member of a multicast group: what is sent to it arrives at the sockets bound to
    /// its port. Members are told to routers by IGMP or MLD. Membership outlives the NIC.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] if it is no multicast address, [`Error::NoMemory`] if there are
    /// too many groups.
    pub fn join_multicast(&self, group: IpAddr) -> Result<(), Error> {
        self.with(|engine| engine.join(group.into()))?;
        self.wake();
        Ok(())
    }

    /// Is a member of a multicast group no longer.
    pub fn leave_multicast(&self, group: IpAddr) {
        self.with(|engine| engine.leave(group.into()));
        self.wake();
    }

    /// The IPv4 address in use.
    pub fn lease(&self) -> Option<Lease> {
        self.with(|engine| engine.addresses.lease())
    }

    /// Whether it is to have an IPv4 address, be it that it has none yet.
    pub fn has_ipv4(&self) -> bool {
        self.with(|engine| engine.addresses.has_ipv4())
    }

    /// The IPv6 addresses in use, the link-local one first.
    pub fn ipv6_addresses(&self) -> Vec<Ipv6Cidr> {
        self.with(|engine| engine.addresses.ipv6(engine.mac()).collect())
    }

    /// The link of the active NIC; down when there is none.
    pub fn link(&self) -> Link {
        self.with(|engine| engine.pair.link())
    }

    /// Counts from the stack's creation on.
    pub fn traffic(&self) -> Traffic {
        self.with(|engine| engine.pair.device.traffic())
    }

    /// TCP connections that there are, those that are still being closed included.
    pub fn connections(&self) -> usize {
        self.with(|engine| engine.sockets.connections.len())
    }

    /// Waits until address, link or NIC may have changed, from this call on. Whoever does something
    /// else between two waits, and is to miss nothing meanwhile, keeps a
    /// [`watcher`](Self::watcher).
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let mut watcher = self.watcher();
        async move { watcher.changed().await }
    }

    /// Watches address, link and NIC. Any number of tasks can.
    pub fn watcher(&self) -> Watcher<()> {
        self.shared.changed.watcher()
    }

    /// What [`run`](Self::run) does again and again, once: for who keeps the time, as tests do.
    #[cfg(not(target_os = "none"))]
    pub fn turn_at(&self, now: embassy_time::Instant) {
        self.turn(Instant::from_micros(now.as_micros() as i64));
    }

    /// One turn of the loop at time `now`.
    pub(super) fn turn(&self, now: Instant) -> Next {
        // Whatever is signalled from here on may have come too late for this turn.
        self.shared.work.reset();
        let (next, changed) = self.with(|engine| engine.turn(now));
        self.shared.rested.set(next != Next::Again);
        if changed {
            self.shared.changed.set(());
        }
        next
    }

    async fn sleep(&self, until: Option<Instant>) {
        let Some(interrupt) =
            self.with(|engine| engine.pair.arm().then(|| engine.pair.interrupt()))
        else {
            return;
        };
        let interrupt = async {
            match &interrupt {
                Some(interrupt) => interrupt.wait().await,
                None => core::future::pending().await,
            }
        };
        let timer = async {
            match until {
                Some(at) => {
                    Timer::at(embassy_time::Instant::from_micros(at.total_micros() as u64)).await;
                }
                None => core::future::pending().await,
            }
        };
        select3(interrupt, self.shared.work.wait(), timer).await;
    }

    /// Has the run loop take a turn.
    pub(super) fn wake(&self) {
        self.shared.work.signal(());
    }

    /// Calls `f`, which may not call the stack, with its parts.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Engine) -> R) -> R {
        f(&mut self.shared.engine.borrow_mut())
    }

    /// What `make` makes, which takes memory: where there is none, connections that are over, and
    /// are only remembered, are forgotten for it.
    pub(super) fn with_memory<R>(&self, make: impl Fn() -> Result<R, Error>) -> Result<R, Error> {
        make().or_else(|error| {
            if error != Error::NoMemory {
                return Err(error);
            }
            self.with(|engine| engine.sockets.free_memory(engine.now()));
            make()
        })
    }

    /// Calls `f`, which may not call the stack, with its sockets.
    pub(super) fn with_sockets<R>(&self, f: impl FnOnce(&mut Sockets) -> R) -> R {
        self.with(|engine| f(&mut engine.sockets))
    }

    /// Calls `f`, which may not call the stack, with a socket.
    pub(super) fn with_socket<S: AnySocket<'static>, R>(
        &self,
        handle: SocketHandle,
        f: impl FnOnce(&mut S) -> R,
    ) -> R {
        self.with_sockets(|sockets| f(sockets.get(handle)))
    }
}
