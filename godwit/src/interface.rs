//! One network interface.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;

use embassy_time::{Duration, Instant, with_deadline};
use unikernel::net::{Ipv4Cidr, Ipv6Cidr, Lease, Stack, Traffic};
use unikernel::nic::{Link, ResetError, Statistics};
use unikernel::watch::Watcher;

use crate::net::{Dns, Error, FrameSocket, Observation, Observer, Reflection, Tcp, Udp};

/// A network interface: addresses, sockets and, most of the time, a NIC or a pair of them. A
/// handle, cheap to clone.
///
/// What is bound to it outlives its NIC: while that is away, as it is for a moment in a migration,
/// connections wait, or go on by the standby.
///
/// ```
/// async fn say(net: godwit::Interface) {
///     net.ready().await;
///     if let (Some(lease), Some(nic)) = (net.ipv4(), net.nic()) {
///         godwit::println!("{}: {} on an {}", net.name(), lease.address, nic.family);
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Interface(Rc<State>);

struct State {
    index: usize,
    stack: Stack,
}

impl Interface {
    pub(crate) fn new(index: usize, stack: Stack) -> Self {
        Self(Rc::new(State { index, stack }))
    }

    /// Its number, from 0 in the order in which NICs were found.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// Its name on the console: `nic`, `nic1`, …
    pub fn name(&self) -> Cow<'static, str> {
        name(self.0.index)
    }

    /// TCP: listeners and connections.
    pub fn tcp(&self) -> Tcp {
        Tcp(self.0.stack.clone())
    }

    /// UDP: sockets, also such that receive in place.
    pub fn udp(&self) -> Udp {
        Udp(self.0.stack.clone())
    }

    /// DNS: the addresses of names.
    pub fn dns(&self) -> Dns {
        Dns(self.0.stack.clone())
    }

    /// Takes the Ethernet frames that `filter` accepts, instead of the stack, and sends any. Up to
    /// `depth` of them wait to be received. See [`FrameSocket`].
    ///
    /// ```
    /// /// Sends what is for experiments (IEEE 802's EtherType 0x88b5) back as it is.
    /// async fn reflect(net: godwit::Interface) -> Result<(), godwit::net::Error> {
    ///     let frames = net.frames(|frame| frame.get(12..14) == Some(&[0x88, 0xb5]), 256)?;
    ///     loop {
    ///         let frame = frames.recv().await;
    ///         frames.reply(frame, |frame| frame[..12].rotate_left(6));
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn frames(
        &self,
        filter: impl Fn(&[u8]) -> bool + 'static,
        depth: usize,
    ) -> Result<FrameSocket, Error> {
        FrameSocket::bind(&self.0.stack, Box::new(filter), depth)
    }

    /// Sends the Ethernet frames that `filter` accepts back as `edit` leaves them, in the memory
    /// that they came in and in the turn that receives them, until what is returned is dropped.
    ///
    /// Neither of the two may call the stack. Nobody else sees these frames: no socket and no
    /// observer. A later call takes the place of an earlier one. Frames that there is no room for
    /// are dropped and counted ([`Traffic::tx_dropped`]), and so are those of which so much memory
    /// is held that the NIC would go short ([`Traffic::kept_refused`]).
    ///
    /// ```
    /// /// Sends what is for experiments (IEEE 802's EtherType 0x88b5) back to where it came from.
    /// fn reflect(net: &godwit::Interface) -> godwit::net::Reflection {
    ///     let is_experiment = |frame: &[u8]| frame.get(12..14) == Some(&[0x88, 0xb5]);
    ///     net.reflect(is_experiment, |frame| frame[..12].rotate_left(6))
    /// }
    /// ```
    #[must_use = "it ends with what is returned"]
    pub fn reflect(
        &self,
        filter: impl Fn(&[u8]) -> bool + 'static,
        edit: impl FnMut(&mut [u8]) + 'static,
    ) -> Reflection {
        self.0.stack.reflect(Box::new(filter), Box::new(edit))
    }

    /// Shows each received frame to `observer` once the stack is done with it, until what is
    /// returned is dropped.
    #[must_use = "the observer goes with it"]
    pub fn observe(&self, observer: impl Observer + 'static) -> Observation {
        self.0.stack.observe(Box::new(observer))
    }

    /// The kernel's network stack behind it.
    pub(crate) fn stack(&self) -> &Stack {
        &self.0.stack
    }

    /// Its IPv4 address and gateway.
    pub fn ipv4(&self) -> Option<Lease> {
        self.0.stack.lease()
    }

    /// Its IPv6 addresses, the link-local one first.
    pub fn ipv6(&self) -> Vec<Ipv6Cidr> {
        self.0.stack.ipv6_addresses()
    }

    /// The link of the NIC in use; down when there is none.
    pub fn link(&self) -> Link {
        self.0.stack.link()
    }

    /// What has gone through it.
    pub fn traffic(&self) -> Traffic {
        self.0.stack.traffic()
    }

    /// TCP connections that there are, those that are still being closed included.
    pub fn connections(&self) -> usize {
        self.0.stack.connections()
    }

    /// The NIC in use.
    pub fn nic(&self) -> Option<NicFacts> {
        self.0.stack.with_nic(|nic| NicFacts {
            family: nic.family(),
            mac: Mac(nic.mac()),
            is_standby: nic.is_standby(),
        })
    }

    /// What the NIC in use has counted.
    pub fn nic_statistics(&self) -> Option<Statistics> {
        self.0.stack.with_nic(|nic| nic.statistics())
    }

    /// Resets the NIC in use. Connections outlive it; what was on the way is lost. `None` if there
    /// is no NIC.
    ///
    /// # Errors
    /// It does not come back, and says why.
    pub async fn reset_nic(&self) -> Option<Result<(), ResetError>> {
        self.0.stack.reset_nic().await
    }

    /// Watches its addresses, its link and which NIC it uses. Any number of tasks can.
    pub fn watcher(&self) -> Watcher<()> {
        self.0.stack.watcher()
    }

    /// Waits until it uses a NIC that `f` accepts, which it may be already.
    pub async fn wait_for_nic(&self, f: impl Fn(&NicFacts) -> bool) -> NicFacts {
        let mut watcher = self.watcher();
        loop {
            if let Some(nic) = self.nic().filter(|nic| f(nic)) {
                return nic;
            }
            watcher.changed().await;
        }
    }

    /// Waits until it has a link and an address that others reach it by.
    pub async fn ready(&self) {
        let mut watcher = self.watcher();
        while !self.is_ready() {
            watcher.changed().await;
        }
    }

    fn is_ready(&self) -> bool {
        self.link().up && self.main_address(false).is_some()
    }

    /// Says on the console when the network is up, and again whenever an address changes, for ever.
    /// Scripts read these lines.
    pub(crate) async fn say_when_ready(&self) {
        let name = if self.0.index == 0 { Cow::from("") } else { self.name() + " " };
        let mut said = None;
        let mut said6 = Vec::new();
        let mut up_since = None;
        let mut watcher = self.watcher();
        loop {
            let up = self.link().up;
            let since = up.then(|| *up_since.get_or_insert_with(Instant::now));
            up_since = since;
            let patient_until = since.map(|since| since + PATIENCE);
            let is_patient = patient_until.is_some_and(|until| Instant::now() < until);
            let address = self.main_address(is_patient).filter(|_| up);
            if let (Some(address), Some(nic)) = (address, self.nic())
                && said != Some(address)
            {
                said = Some(address);
                let (key, family, mac) = (address.key(), nic.family, nic.mac);
                unikernel::println!("godwit: ready {name}{key}={address} nic={family} mac={mac}");
            }
            let addresses: Vec<_> = routed(&self.ipv6()).collect();
            for address in addresses.iter().filter(|address| !said6.contains(*address)) {
                unikernel::println!("godwit: {name}ip6={address}");
            }
            said6 = addresses;
            match patient_until {
                Some(until) if is_patient => {
                    let _ = with_deadline(until, watcher.changed()).await;
                }
                _ => watcher.changed().await,
            }
        }
    }

    fn main_address(&self, is_patient: bool) -> Option<Address> {
        let ipv4 = self.ipv4().map(|lease| lease.address);
        main_address(ipv4, &self.ipv6(), self.0.stack.has_ipv4(), is_patient)
    }
}

/// How long an IPv4 address is waited for where there is an IPv6 address, but DHCP does not answer:
/// a network may have IPv6 alone.
const PATIENCE: Duration = Duration::from_secs(5);

/// An address that others reach the machine by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    Ipv4(Ipv4Cidr),
    Ipv6(Ipv6Cidr),
}

impl Address {
    /// What it is called on the console.
    fn key(&self) -> &'static str {
        match self {
            Self::Ipv4(_) => "ip",
            Self::Ipv6(_) => "ip6",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
        }
    }
}

/// The address that an interface is ready with: the IPv4 one. Without IPv4, or when there was no
/// answer for long enough, an IPv6 one that routers know. Without IPv4 the link-local one will do.
fn main_address(
    ipv4: Option<Ipv4Cidr>,
    ipv6: &[Ipv6Cidr],
    has_ipv4: bool,
    is_patient: bool,
) -> Option<Address> {
    let routed = routed(ipv6).next().filter(|_| !has_ipv4 || !is_patient);
    let other = ipv6.first().copied().filter(|_| !has_ipv4 && !is_patient);
    ipv4.map(Address::Ipv4).or(routed.or(other).map(Address::Ipv6))
}

/// Addresses others than the link-local one, which needs nobody to say it.
fn routed(ipv6: &[Ipv6Cidr]) -> impl Iterator<Item = Ipv6Cidr> {
    ipv6.iter().copied().filter(|own| !own.address().is_unicast_link_local())
}

/// The name of interface `index` on the console.
pub(crate) fn name(index: usize) -> Cow<'static, str> {
    match index {
        0 => "nic".into(),
        index => format!("nic{index}").into(),
    }
}

/// What a NIC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicFacts {
    /// Name of the device family, for people.
    pub family: &'static str,
    /// The station address.
    pub mac: Mac,
    /// It stands in for the interface's primary NIC, which is away or has no link.
    pub is_standby: bool,
}

/// A station address as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_with_ipv6_alone_is_ready() {
        let ipv4 = "10.0.0.1/24".parse().unwrap();
        let [local, routed]: [Ipv6Cidr; 2] =
            ["fe80::1/64", "2001:db8::1/64"].map(|text| text.parse().unwrap());
        let both = [local, routed];
        // With a DHCP server that may still answer, with none, and with `ip=off`.
        let ready = |ipv6: &[Ipv6Cidr]| {
            [(true, true), (true, false), (false, true), (false, false)]
                .map(|(has_ipv4, is_patient)| main_address(None, ipv6, has_ipv4, is_patient))
        };
        let yes = Some(Address::Ipv6(routed));
        assert_eq!(ready(&both), [None, yes, yes, yes]);
        assert_eq!(ready(&[local]), [None, None, None, Some(Address::Ipv6(local))]);
        assert_eq!(ready(&[]), [None; 4]);
        assert_eq!(main_address(Some(ipv4), &both, true, true), Some(Address::Ipv4(ipv4)));
    }
}
