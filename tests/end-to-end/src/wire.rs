//! Every NIC on a wire with a Linux guest: VLANs, jumbo frames and IPv6 as somebody else's stack
//! and programs use them, and as tshark sees them on the wire.

use std::{cell::RefCell, path::Path};

use anyhow::{Context, Result, anyhow, ensure};
use lab::{guest::READY, parts::NicModel, system::tools};

use crate::{
    guest::TCP_FLOOR,
    options::Kernel,
    peer::Peer,
    suite::{LONG, Suite},
    tshark::{FAULTS, TSHARK, tshark},
};

/// The Linux guest's addresses: on the wire, and in the VLAN.
const PEER: &str = "10.9.0.1";
const PEER_IN_VLAN: &str = "10.5.0.1";
/// Ours.
const JUMBO: &str = "10.9.0.2";
const IN_VLAN: &str = "10.5.0.2";
/// What the router advertises.
const PREFIX: &str = "fd00:676f::";

const NICS: [NicModel; 5] = NicModel::ALL;

/// Two VLANs, the second of which is not ours, and the address that the router's prefix gives.
/// Busybox has an `ip` of its own that knows less.
const SET_UP: &str = "/bin/ip link set eth0 mtu 9000 && \
    for vlan in 5 6; do /bin/ip link add link eth0 name vlan$vlan mtu 1500 type vlan id $vlan && \
    /bin/ip address add 10.$vlan.0.1/24 dev vlan$vlan && /bin/ip link set vlan$vlan up || break; \
    done && \
    for try in $(busybox seq 100); do busybox sleep 0.1; \
    /bin/ip -6 address show dev eth0 scope global -tentative | busybox grep inet6 && break; \
    done || \
    { /bin/ip address; false; }";
/// What is known of earlier machines, some of which had the same address.
const FORGET: &str = "/bin/ip neighbour flush all";

/// What becomes of a NIC, and its log.
type Test = fn(&mut Peer, NicModel, &Path) -> Result<String>;

thread_local! {
    /// All tests of a lane have the first one's, or its failure: its machine lives as long as the
    /// lane's thread.
    static LINUX: RefCell<Option<Result<Peer>>> = const { RefCell::new(None) };
}

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    let tests: [(&str, &[NicModel], Test); 3] = [
        // No VLANs on virtio-net.
        ("a VLAN", &NICS[..4], vlan),
        ("jumbo frames", &NICS, jumbo),
        ("IPv6", &NICS, ipv6),
    ];
    for (what, nics, test) in tests {
        for &nic in nics {
            suite.test(&format!("{what} on {nic}, with Linux"), LONG, move |log| {
                LINUX.with_borrow_mut(|peer| {
                    let peer = peer.get_or_insert_with(|| boot_peer(kernel, log));
                    let peer = peer.as_mut().map_err(|error| anyhow!("{error:#}"))?;
                    test(peer, nic, log)
                })
            });
        }
    }
}

fn boot_peer(kernel: Kernel, log: &Path) -> Result<Peer> {
    tools::require("this test", &[TSHARK])?;
    let log = log.with_extension("peer.log");
    let mut peer = Peer::boot(kernel, &log, &format!("{PEER}/24"), PREFIX)?;
    peer.run(SET_UP)?;
    peer.set_router(false)?;
    Ok(peer)
}

/// Frames with a tag are as long as an MTU of 1500 makes them.
fn vlan(peer: &mut Peer, nic: NicModel, log: &Path) -> Result<String> {
    let capture = log.with_extension("pcap");
    let rates = peer.record(&capture, |peer| {
        let append = format!("ip={IN_VLAN}/24 gw={PEER_IN_VLAN} vlan=5");
        let mut guest = peer.boot_other(nic, log, &append)?;
        guest.wait_for(READY)?;
        // Nobody in another VLAN, or in none, gets an answer.
        peer.run(&format!(
            "for other in vlan6 eth0; do busybox arping -c 1 -w 1 -I $other {IN_VLAN} & done; wait"
        ))?;
        exchange(peer, IN_VLAN, 1472)
    })?;
    let tagged = format!("vlan.id == 5 && ip.src == {IN_VLAN} && ip.dst == {PEER_IN_VLAN}");
    let wire = Wire(&capture);
    wire.has(&format!("{tagged} && icmp && frame.len == 1518"))?;
    wire.has(&format!("{tagged} && tcp.len > 1000"))?;
    wire.has(&format!("vlan.id == 6 && arp.dst.proto_ipv4 == {IN_VLAN}"))?;
    wire.has(&format!("!vlan && arp.dst.proto_ipv4 == {IN_VLAN}"))?;
    wire.has_no(&format!("vlan.id != 5 && arp.src.proto_ipv4 == {IN_VLAN}"))?;
    wire.has_no(&format!("!vlan && (ip.addr == {IN_VLAN} || arp.src.proto_ipv4 == {IN_VLAN})"))?;
    wire.has_no(FAULTS)?;
    Ok(rates)
}

fn jumbo(peer: &mut Peer, nic: NicModel, log: &Path) -> Result<String> {
    let capture = log.with_extension("pcap");
    let rates = peer.record(&capture, |peer| {
        let append = format!("ip={JUMBO}/24 gw={PEER} mtu=9000");
        let mut guest = peer.boot_other(nic, log, &append)?;
        guest.wait_for(READY)?;
        exchange(peer, JUMBO, 8972)
    })?;
    let wire = Wire(&capture);
    for from in [JUMBO, PEER] {
        // Whole packets, not fragments.
        wire.has(&format!("ip.src == {from} && icmp && frame.len == 9014"))?;
        wire.has(&format!("ip.src == {from} && tcp && frame.len > 8900"))?;
    }
    wire.has_no(FAULTS)?;
    Ok(rates)
}

/// An address of our own making, known by multicast, and what Linux does with it.
fn ipv6(peer: &mut Peer, nic: NicModel, log: &Path) -> Result<String> {
    let capture = log.with_extension("pcap");
    let (address, rates) = peer.record(&capture, |peer| {
        peer.set_router(true)?;
        let mut guest = peer.boot_other(nic, log, &format!("ip={JUMBO}/24 gw={PEER}"))?;
        let said = guest.wait_for("godwit: ip6=");
        peer.set_router(false)?;
        let said = said?;
        let address = said.rsplit_once('=').and_then(|(_, address)| address.strip_suffix("/64"));
        let address = address.with_context(|| said.clone())?;
        peer.run(FORGET)?;
        let rates = exchange(peer, address, 1000)?;
        Ok((address.to_owned(), rates))
    })?;
    ensure!(address.starts_with(PREFIX), "{address} is not from {PREFIX}");
    let wire = Wire(&capture);
    wire.has("icmpv6.type == 133")?;
    // A solicitation by multicast, which a NIC has to let through, and its answer.
    wire.has(&format!("icmpv6.nd.ns.target_address == {address} && eth.dst[0:3] == 33:33:ff"))?;
    wire.has(&format!(
        "icmpv6.nd.na.target_address == {address} && icmpv6.nd.na.flag.s == 1 && \
         icmpv6.opt.linkaddr == eth.src"
    ))?;
    wire.has(&format!("ipv6.src == {address} && icmpv6.type == 129"))?;
    wire.has(&format!("ipv6.src == {address} && tcp.len > 1000"))?;
    wire.has_no(FAULTS)?;
    Ok(rates)
}

/// Pings of so many bytes, the status page, and iperf3 both ways.
fn exchange(peer: &mut Peer, address: &str, ping: usize) -> Result<String> {
    peer.run(&format!("busybox ping -c 3 -i 0.2 -W 5 -s {ping} {address}"))?;
    let host = if address.contains(':') { format!("[{address}]") } else { address.into() };
    let page = peer.run(&format!("busybox wget -q -O - http://{host}/status.json"))?;
    ensure!(page.starts_with('{'), "the status is {page:?}");
    let to = peer.iperf3(address, "")?;
    let from = peer.iperf3(address, "--reverse")?;
    ensure!(to.min(from) >= TCP_FLOOR, "only {to:.0} bit/s to it and {from:.0} from it");
    Ok(format!("{:.0} Mbit/s to it, {:.0} from it", to / 1e6, from / 1e6))
}

/// A capture of the wire.
struct Wire<'a>(&'a Path);

impl Wire<'_> {
    fn count(&self, filter: &str) -> Result<usize> {
        Ok(tshark(self.0, filter, "frame.number")?.len())
    }

    fn has(&self, filter: &str) -> Result<()> {
        ensure!(self.count(filter)? > 0, "no frame on the wire with {filter}");
        Ok(())
    }

    fn has_no(&self, filter: &str) -> Result<()> {
        let count = self.count(filter)?;
        ensure!(count == 0, "{count} frames on the wire with {filter}");
        Ok(())
    }
}
