//! What the wire shows of a guest that moves between its NICs.

use std::path::Path;

use anyhow::{Result, ensure};
use lab::addresses::MAC;

use crate::tshark::tshark;

/// How a guest announces where it is, as a filter for [`tshark`]: RFC 5227, section 2.3, and RFC
/// 4861, section 7.2.6.
const ANNOUNCEMENTS: [(&str, &str); 2] = [
    ("gratuitous ARP", "arp.isgratuitous == 1"),
    (
        "unsolicited neighbour advertisements",
        "icmpv6.type == 136 && icmpv6.nd.na.flag.s == 0 && ipv6.dst == ff02::1",
    ),
];

/// The port of the destination's standby. By the time the guest runs there its NIC is as good as
/// there, and it may or may not have something left to say by this one.
const PASSED: &str = "nic-standby-destination";

/// Checks that comments in the capture say where so many warm-ups and so many switchovers began.
pub(crate) fn told(capture: &Path, warmups: usize, switchovers: usize) -> Result<()> {
    let said = tshark(capture, "frame.comment", "frame.comment")?.join("; ");
    for (stage, times) in [("warm-up", warmups), ("quiesce and switchover", switchovers)] {
        let seen = said.matches(&format!("Migrating: {stage}")).count();
        ensure!(seen == times, "{stage} {seen} times and not {times} in comments: {said}");
    }
    Ok(())
}

/// Checks that the guest announced each of its moves over IPv4 and IPv6, by these ports of the
/// segment one after the other. The first is where it settled when it had booted.
pub(crate) fn announced(capture: &Path, ports: &[&str]) -> Result<()> {
    for (what, filter) in ANNOUNCEMENTS {
        let filter = format!("eth.src == {MAC} && {filter}");
        let mut seen = tshark(capture, &filter, "frame.interface_name")?;
        seen.retain(|port| port != PASSED);
        seen.dedup();
        let settled = seen.iter().position(|port| port == ports[0]).unwrap_or(0);
        ensure!(
            seen[settled..] == *ports,
            "{what} came by {}, and should have by {}",
            seen[settled..].join(", "),
            ports.join(", ")
        );
    }
    Ok(())
}
