//! The states of a client, and the lease it has meanwhile (RFC 2131, figure 5).

use alloc::borrow::Cow;

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{DhcpMessageType, Ipv4Address, Ipv4Cidr};

use super::message::{Message, Reply, class_prefix_len, is_host};

/// How long an answer is waited for at first, in seconds. RFC 2131 (section 4.1) has 4; a lost
/// packet should not cost that of a boot. Doubled each time.
const FIRST_WAIT: u32 = 1;
/// How long nothing is asked for after a refusal, at first.
const FIRST_PAUSE: u32 = 4;
/// The longest wait and pause (RFC 2131, section 4.1).
const LONGEST_WAIT: u32 = 64;
/// The shortest wait between two requests to renew a lease (RFC 2131, section 4.4.5).
const RENEWAL_WAIT: Duration = Duration::from_secs(60);
/// Requests without an answer until servers are looked for anew.
const MOST_REQUESTS: u32 = 4;
/// What a lease lasts whose server does not say it.
const LEASE: Duration = Duration::from_secs(60 * 60);

/// What a server has granted.
#[derive(Clone, Debug)]
pub(in crate::net) struct Held {
    pub(in crate::net) address: Ipv4Cidr,
    reply: Reply,
    duration: Duration,
    renew_at: Instant,
    rebind_at: Instant,
    expires_at: Instant,
}

impl Held {
    /// Networks, and the routers to them; none for one that is on the link.
    pub(in crate::net) fn routes(&self) -> &[(Ipv4Cidr, Option<Ipv4Address>)] {
        &self.reply.routes
    }

    pub(in crate::net) fn name_servers(&self) -> &[Ipv4Address] {
        &self.reply.name_servers
    }

    /// The longest packet that the network takes.
    pub(in crate::net) fn mtu(&self) -> Option<u16> {
        self.reply.mtu
    }

    /// Whether everything but the times is the same.
    fn is_like(&self, other: &Self) -> bool {
        self.address == other.address
            && self.routes() == other.routes()
            && self.name_servers() == other.name_servers()
            && self.mtu() == other.mtu()
    }
}

/// What a server has offered.
#[derive(Clone, Copy, Debug)]
struct Offer {
    server: Option<Ipv4Address>,
    address: Ipv4Address,
    prefix_len: Option<u8>,
}

/// What the client waits for.
#[derive(Clone, Copy, Debug)]
enum State {
    /// An offer.
    Selecting,
    /// That the server of this offer keeps its word.
    Requesting(Offer),
    /// That a server knows the lease, on a link that may lead to another network now.
    Rebooting,
    /// The time to renew the lease.
    Bound,
    /// That the server of the lease renews it.
    Renewing,
    /// That any server does.
    Rebinding,
}

/// The client.
pub(in crate::net) struct Client {
    /// What lines on the console begin with.
    name: Cow<'static, str>,
    state: State,
    lease: Option<Held>,
    /// The address that was held last, since it was lost.
    lost: Option<Ipv4Cidr>,
    transaction: u32,
    /// When it began to look for an address.
    since: Option<Instant>,
    send_at: Option<Instant>,
    /// Messages that were sent in this state.
    tries: u32,
    /// Refusals since the last lease.
    refusals: u32,
    random: u64,
}

impl Client {
    pub(in crate::net) fn new(name: Cow<'static, str>, seed: u64) -> Self {
        let mut client = Self {
            name,
            state: State::Selecting,
            lease: None,
            lost: None,
            transaction: 0,
            since: None,
            send_at: None,
            tries: 0,
            refusals: 0,
            random: seed | 1,
        };
        client.enter(State::Selecting, Instant::ZERO);
        client
    }

    /// What is held.
    pub(in crate::net) fn lease(&self) -> Option<&Held> {
        self.lease.as_ref()
    }

    /// An address that was lost, until there is another.
    pub(in crate::net) fn lost(&self) -> Option<Ipv4Cidr> {
        self.lost
    }

    /// The link was down: it may lead to another network now. The lease stays, for the connections'
    /// sake, for as long as no server says otherwise: one that is silent has not taken it back
    /// (RFC 2131, section 3.2).
    pub(in crate::net) fn restart(&mut self, now: Instant) {
        let state = if self.lease.is_some() { State::Rebooting } else { State::Selecting };
        self.refusals = 0;
        self.enter(state, now);
    }

    /// Takes in what servers have to say, and what time does to a lease. Returns whether that
    /// changed it.
    pub(in crate::net) fn poll(&mut self, replies: &[Reply], now: Instant) -> bool {
        let mut changed = false;
        for reply in replies {
            changed |= reply.transaction == self.transaction && self.hear(reply, now);
        }
        let Some(lease) = &self.lease else { return changed };
        let (renew_at, rebind_at, expires_at) = (lease.renew_at, lease.rebind_at, lease.expires_at);
        if now >= expires_at {
            crate::println!("{}: DHCP lease of {} expired", self.name, lease.address);
            self.lose();
            self.enter(State::Selecting, now);
            return true;
        }
        match self.state {
            State::Bound if now >= renew_at => self.enter(State::Renewing, now),
            State::Renewing if now >= rebind_at => self.enter(State::Rebinding, now),
            _ => {}
        }
        changed
    }

    /// When [`poll`](Self::poll) has to run even if nothing happens.
    pub(in crate::net) fn poll_at(&self) -> Option<Instant> {
        let lease = self.lease.as_ref()?;
        Some(match self.state {
            State::Bound => lease.renew_at,
            State::Renewing => lease.rebind_at,
            _ => lease.expires_at,
        })
    }

    /// When there is something to send, which takes a link.
    pub(in crate::net) fn send_at(&self) -> Option<Instant> {
        self.send_at
    }

    /// What is to be sent. Call [`sent`](Self::sent) when that was done.
    pub(in crate::net) fn message(&mut self, now: Instant) -> Option<Message> {
        if self.send_at.is_none_or(|at| now < at) {
            return None;
        }
        let since = *self.since.get_or_insert(now);
        let held = self.lease.as_ref().map(|lease| lease.address.address());
        let mut message = Message {
            kind: DhcpMessageType::Request,
            transaction: self.transaction,
            seconds: (now - since).secs().try_into().unwrap_or(u16::MAX),
            client: Ipv4Address::UNSPECIFIED,
            requested: None,
            server: None,
            destination: Ipv4Address::BROADCAST,
        };
        // RFC 2131, table 4.
        match (&self.state, held) {
            (State::Requesting(offer), _) => {
                (message.requested, message.server) = (Some(offer.address), offer.server);
            }
            (State::Rebooting, held) => message.requested = held,
            (State::Renewing, Some(address)) => {
                let server = self.lease.as_ref().and_then(|lease| lease.reply.server);
                message.client = address;
                message.destination = server.unwrap_or(Ipv4Address::BROADCAST);
            }
            (State::Rebinding, Some(address)) => message.client = address,
            _ => (message.kind, message.requested) = (DhcpMessageType::Discover, held),
        }
        Some(message)
    }

    /// It was sent.
    pub(in crate::net) fn sent(&mut self, now: Instant) {
        self.tries += 1;
        let half = |until: Instant| ((until - now) / 2).max(RENEWAL_WAIT);
        self.send_at = match (&self.state, &self.lease) {
            (State::Bound, _) => None,
            (State::Renewing, Some(lease)) => Some(now + half(lease.rebind_at)),
            (State::Rebinding, Some(lease)) => Some(now + half(lease.expires_at)),
            (State::Requesting(_) | State::Rebooting, _) if self.tries >= MOST_REQUESTS => {
                let at = now + self.wait(FIRST_WAIT, self.tries);
                return self.enter(State::Selecting, at);
            }
            _ => Some(now + self.wait(FIRST_WAIT, self.tries)),
        };
    }

    fn hear(&mut self, reply: &Reply, now: Instant) -> bool {
        match (&self.state, reply.kind) {
            (State::Selecting, DhcpMessageType::Offer) if is_host(&reply.address) => {
                let transaction = self.transaction;
                let &Reply { server, address, prefix_len, .. } = reply;
                self.enter(State::Requesting(Offer { server, address, prefix_len }), now);
                // RFC 2131, section 4.4.1: the same as in the offer.
                self.transaction = transaction;
                false
            }
            (State::Selecting | State::Bound, _) => false,
            (State::Requesting(offer), _)
                if reply.server.is_some() && reply.server != offer.server =>
            {
                false
            }
            (_, DhcpMessageType::Ack) if is_host(&reply.address) => self.bind(reply, now),
            (_, DhcpMessageType::Nak) => self.refused(reply, now),
            _ => false,
        }
    }

    /// A server has granted an address.
    fn bind(&mut self, reply: &Reply, now: Instant) -> bool {
        let address = reply.address;
        let before = self.lease.take();
        let same = before.as_ref().filter(|held| held.address.address() == address);
        // What it does not say again is as it was, or as it was offered.
        let offered = match &self.state {
            State::Requesting(offer) => offer.prefix_len,
            _ => None,
        };
        let known = offered.or(same.map(|held| held.address.prefix_len()));
        let prefix_len = reply.prefix_len.or(known).unwrap_or_else(|| class_prefix_len(address));
        let known = same.map(|held| held.duration);
        let duration = reply.lease.or(known).unwrap_or(LEASE);
        let rebinding = reply.rebinding.filter(|&at| at < duration);
        let rebinding = rebinding.unwrap_or(duration / 8 * 7);
        let renewal = reply.renewal.filter(|&at| at < rebinding).unwrap_or(duration / 2);
        let mut reply = reply.clone();
        reply.server = reply.server.or(same.and_then(|held| held.reply.server));
        let held = Held {
            address: Ipv4Cidr::new(address, prefix_len),
            reply,
            duration,
            renew_at: now + renewal,
            rebind_at: now + rebinding,
            expires_at: now + duration,
        };
        let changed = before.is_none_or(|before| !before.is_like(&held));
        (self.lease, self.lost) = (Some(held), None);
        self.refusals = 0;
        (self.state, self.since, self.send_at) = (State::Bound, None, None);
        changed
    }

    /// A server has refused an address.
    fn refused(&mut self, reply: &Reply, now: Instant) -> bool {
        // A refusal of what was offered does not say anything about what is held.
        let is_held = !matches!(self.state, State::Requesting(_));
        let is_lost = is_held && self.lose();
        let server = reply.server.unwrap_or(Ipv4Address::UNSPECIFIED);
        // Of an address that was held, another one may be had at once (RFC 2131, section 3.2).
        let pause = if is_lost {
            Duration::ZERO
        } else {
            self.refusals += 1;
            self.wait(FIRST_PAUSE, self.refusals)
        };
        let name = &self.name;
        crate::println!(
            "{name}: DHCP server {server} refused the address; asking again in {} s",
            pause.secs()
        );
        self.enter(State::Selecting, now + pause);
        is_lost
    }

    /// Whether there was a lease to lose.
    fn lose(&mut self) -> bool {
        let lost = self.lease.take().map(|held| held.address);
        self.lost = lost.or(self.lost);
        lost.is_some()
    }

    /// A state that begins with a message at a time.
    fn enter(&mut self, state: State, at: Instant) {
        (self.state, self.send_at, self.tries) = (state, Some(at), 0);
        self.transaction = self.roll() as u32;
    }

    /// The `nth` wait of a series that doubles, give or take a quarter, so that machines that were
    /// started together do not ask together (RFC 2131, section 4.1).
    fn wait(&mut self, first: u32, nth: u32) -> Duration {
        let doubled = first.checked_shl(nth.saturating_sub(1)).unwrap_or(LONGEST_WAIT);
        let wait = if nth > 6 { LONGEST_WAIT } else { doubled.min(LONGEST_WAIT) };
        let millis = u64::from(wait) * 1000;
        Duration::from_millis(millis * 3 / 4 + self.roll() % (millis / 2))
    }

    /// Numbers that need not be secret (G. Marsaglia, "Xorshift RNGs", 2003).
    fn roll(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }
}
