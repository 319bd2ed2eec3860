//! The loop that moves packets.

use embassy_futures::select::select3;
use embassy_futures::yield_now;
use embassy_time::Timer;
use smoltcp::iface::{PollIngressSingleResult, PollResult};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};

use super::announce::Announce;
use super::stack::{Inner, Stack};
use crate::nic::Link;

/// Frames taken from the NIC in one turn. Enough to spread a doorbell thin, few enough that other tasks do not starve.
const RECEIVE_BUDGET: usize = 64;
/// Rounds of sending in one turn; in each, every socket sends one packet.
const SEND_BUDGET: usize = 64;
/// How often timers are looked at without a link: sockets then claim to have work at any time.
const STALLED: Duration = Duration::from_millis(100);
/// How long room to send is waited for, should the interrupt that tells of it get lost, or the DMA pool be short.
const ROOM: Duration = Duration::from_millis(1);
/// How often a NIC without a link is asked for it, should the interrupt that tells of it get lost.
const LINK: Duration = Duration::from_millis(100);

/// What [`Stack::catch_up`] takes at most. A NIC that never runs dry is to be left all the same.
const CATCH_UP: embassy_time::Duration = embassy_time::Duration::from_millis(50);

/// What the loop does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more: another turn as soon as the other tasks have run.
    Again,
    /// Nothing to do until this time, an interrupt, or a socket.
    Sleep(Option<Instant>),
}

impl Stack {
    /// Moves packets, for ever. One task runs it.
    pub async fn run(&self) -> ! {
        loop {
            match self.turn(now()) {
                Next::Again => {}
                Next::Sleep(until) => self.sleep(until).await,
            }
            // The other tasks' turn, even if the NIC never runs dry.
            yield_now().await;
        }
    }

    /// Waits until what has been received by now is dealt with. For tasks that keep the processor for long: the ring of a
    /// NIC holds what arrives in some milliseconds.
    pub async fn catch_up(&self) {
        let deadline = embassy_time::Instant::now() + CATCH_UP;
        self.shared.rested.set(false);
        self.shared.work.signal(());
        while !self.shared.rested.get() && embassy_time::Instant::now() < deadline {
            yield_now().await;
        }
    }

    /// One turn of the loop at time `now`.
    pub(super) fn turn(&self, now: Instant) -> Next {
        // Whatever is signalled from here on may have come too late for this turn.
        self.shared.work.reset();
        let inner = &mut *self.shared.inner.borrow_mut();
        let (next, changed) = inner.turn(now);
        self.shared.rested.set(next != Next::Again);
        if changed {
            self.shared.changed.set(());
        }
        next
    }

    async fn sleep(&self, until: Option<Instant>) {
        let interrupt = {
            let inner = &mut *self.shared.inner.borrow_mut();
            let link = inner.link;
            // Work arrived while the interrupt was off, or the link changed: it is known from here on only.
            if inner.device.nic.as_mut().is_some_and(|nic| !nic.arm() || nic.link() != link) {
                return;
            }
            inner.interrupt.clone()
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
                    Timer::at(embassy_time::Instant::from_micros(at.total_micros() as u64)).await
                }
                None => core::future::pending().await,
            }
        };
        select3(interrupt, self.shared.work.wait(), timer).await;
    }
}

impl Inner {
    fn turn(&mut self, now: Instant) -> (Next, bool) {
        self.now = now;
        let mut received = 0;
        while received < RECEIVE_BUDGET
            && self.interface.poll_ingress_single(now, &mut self.device, &mut self.sockets)
                != PollIngressSingleResult::None
        {
            received += 1;
        }

        let mut changed = self.choose_nic(now);
        changed |= self.check_link(now);
        let advertised = self.device.advertised.take();
        if self.address.poll(&mut self.sockets, now) | self.ipv6.poll(advertised, now) {
            self.apply_addresses();
            self.announce = Announce::starting(now);
            changed = true;
        }
        self.contradict(now);
        self.send_announcements(now);

        let mut sent = 0;
        while sent < SEND_BUDGET
            && self.finish_fragments(now)
            && self.interface.poll_egress(now, &mut self.device, &mut self.sockets)
                == PollResult::SocketStateChanged
        {
            sent += 1;
        }
        self.device.flush();
        self.reap();

        let next = if received == RECEIVE_BUDGET || sent == SEND_BUDGET {
            Next::Again
        } else {
            self.sleep_until(now)
        };
        (next, changed)
    }

    /// Sends what is left of a fragmented datagram. Returns whether there is room for another.
    ///
    /// smoltcp 0.14 sends one fragment at each `poll_egress` and then has the sockets go on, which overwrites the
    /// buffer that the other fragments come from. Polling no sockets sends the fragments alone.
    fn finish_fragments(&mut self, now: Instant) -> bool {
        while self.interface.poll_at(now, &self.no_sockets).is_some() {
            if !self.device.transmit_ready() {
                return false;
            }
            self.interface.poll_egress(now, &mut self.device, &mut self.no_sockets);
        }
        true
    }

    fn sleep_until(&mut self, now: Instant) -> Next {
        let sockets = self.interface.poll_at(now, &self.sockets);
        // Without a link these are no reason to stay awake: they start anew with it.
        let unasked = [self.announce.at, self.ipv6.solicit_at()].into_iter().flatten();
        let to_send = sockets.into_iter().chain(unasked.filter(|_| self.link.up)).min();
        let possible = match (self.device.transmit_ready(), self.link.up) {
            (true, _) => now,
            // A NIC that has room again interrupts; a missing one comes when it comes.
            (false, true) => now + ROOM,
            (false, false) => now + STALLED,
        };
        let to_send = to_send.map(|at| at.max(possible));
        if to_send == Some(now) {
            return Next::Again;
        }
        let waits_for_link = !self.link.up && self.device.nic.is_some();
        let times = [
            to_send,
            waits_for_link.then(|| now + LINK),
            self.address.poll_at(),
            self.ipv6.poll_at(),
            self.idle.look_at(),
        ];
        Next::Sleep(times.into_iter().flatten().min())
    }

    /// Follows the link. Returns whether it changed.
    fn check_link(&mut self, now: Instant) -> bool {
        let link = self.device.nic.as_ref().map_or(Link::default(), |nic| nic.link());
        if link == self.link {
            return false;
        }
        if !link.up {
            self.link_lost = true;
            self.announce = Announce::default();
        } else if !self.link.up {
            // The first link of a NIC leads to the network its predecessor was on; the lease holds there. A link that
            // comes back may lead anywhere.
            if self.link_lost {
                self.address.restart(&mut self.sockets, now);
            }
            self.link_lost = false;
            self.ipv6.restart(now);
            self.announce = Announce::starting(now);
        }
        if link.up {
            crate::println!("nic: link up {} Mbit/s", link.speed);
        } else {
            crate::println!("nic: link down");
        }
        self.link = link;
        self.device.link_up = link.up;
        true
    }

    /// Forgets the connections that have said goodbye.
    fn reap(&mut self) {
        let sockets = &mut self.sockets;
        self.closing.retain(|&handle| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_recv() {
                // Data for nobody: the peer has to know (RFC 9293 section 3.6.1), and would otherwise keep it alive.
                socket.abort();
            }
            // An aborted connection is closed at once but keeps its endpoints until the reset is sent.
            let done = socket.state() == tcp::State::Closed && socket.remote_endpoint().is_none();
            if done {
                sockets.remove(handle);
            }
            !done
        });
    }
}

pub(super) fn now() -> Instant {
    Instant::from_micros(embassy_time::Instant::now().as_micros() as i64)
}
