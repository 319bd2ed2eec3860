//! Captures, as somebody else's program reads them.

use std::{path::Path, process::Command};

use anyhow::Result;
use lab::system::{command, tools::Tool};

/// The program.
pub(crate) const TSHARK: Tool = Tool::program("tshark", "tshark");

/// What makes a frame a wrong one, as a filter for [`tshark`]. A sum of all ones is as good as
/// zero, and what QEMU's models write instead (`hw/net/net_tx_pkt.c`).
pub(crate) const FAULTS: &str = "_ws.malformed || frame.cap_len != frame.len || \
    ip.checksum.status == 0 || udp.checksum.status == 0 || icmpv6.checksum.status == 0 || \
    (tcp.checksum.status == 0 && tcp.checksum != 0xffff)";

/// A field of each frame in a capture that a display filter lets through; checksums are looked at.
pub(crate) fn tshark(capture: &Path, filter: &str, field: &str) -> Result<Vec<String>> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-nr").arg(capture).args(["-Y", filter, "-T", "fields", "-e", field]);
    for protocol in ["ip", "udp", "tcp"] {
        tshark.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    let output = command::run(&mut tshark)?;
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}
