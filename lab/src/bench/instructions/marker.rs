//! What is sent behind the frames that count, and how the guest shows that it is done with them.

use anyhow::Result;
use etherparse::{ArpOperation, EtherType};

use super::wire::Wire;
use crate::{
    addresses::{GUEST, SOURCE},
    segment::{Frame, PREFIX},
};

/// Shortest frame, without its check sequence.
pub(super) const SHORTEST: usize = 60;
const ARP: [u8; 2] = [0x08, 0x06];
const REPLY: [u8; 2] = [0, 2];

/// Sends frames and a marker. They are processed in their order, so the answer comes when all are.
pub(super) fn send_marked(wire: &mut Wire, mut frames: Vec<Frame>) -> Result<()> {
    frames.push(who_has());
    wire.send(&frames)?;
    while !is_arp_reply(&wire.receive()?) {}
    Ok(())
}

fn is_arp_reply(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&ARP) && frame.get(20..22) == Some(&REPLY)
}

/// Asks for the guest's address.
fn who_has() -> Frame {
    Frame::build(SHORTEST, |frame| {
        frame.extend(GUEST.mac);
        frame.extend(SOURCE.mac);
        frame.extend(EtherType::ARP.0.to_be_bytes());
        // Ethernet, IPv4 (RFC 826).
        frame.extend([0, 1, 8, 0, 6, 4]);
        frame.extend(ArpOperation::REQUEST.0.to_be_bytes());
        frame.extend(SOURCE.mac);
        frame.extend(SOURCE.ip.octets());
        frame.extend([0; 6]);
        frame.extend(GUEST.ip.octets());
        frame.resize(PREFIX + SHORTEST, 0);
    })
}
