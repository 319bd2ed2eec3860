//! What is sent to the guest, and how it shows that it is done with it.

use anyhow::Result;
use etherparse::{ArpOperation, EtherType, PacketBuilder};
use godwit_probe::{Header, PORT};
use zerocopy::IntoBytes;

use super::wire::Wire;
use crate::{
    addresses::{GUEST, SOURCE},
    segment::{Frame, PREFIX},
};

/// Bytes of UDP payload.
const PAYLOAD: usize = 64;
/// An experimental type (IEEE 802, local experimental ethertype 1).
const EXPERIMENTAL: u16 = 0x88b5;
/// Shortest frame, without its check sequence.
const SHORTEST: usize = 60;
const ARP: [u8; 2] = [0x08, 0x06];
const REPLY: [u8; 2] = [0, 2];

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// The application's folder.
    pub(super) application: &'static str,
    /// What the guest's command line has beside its address.
    pub(super) append: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Numbered datagrams that are counted by their receiver.
    Udp,
    /// Frames that are sent back.
    Reflect,
}

/// All of them.
pub const CASES: [Case; 3] = [
    case("udp-marking", "net-app", "recorder=0 marking=always", Kind::Udp),
    case("udp", "net-app", "recorder=0 marking=never", Kind::Udp),
    case("reflect", "examples/reflect", "marking=never", Kind::Reflect),
];

const fn case(
    name: &'static str,
    application: &'static str,
    append: &'static str,
    kind: Kind,
) -> Case {
    Case { name, application, append, kind }
}

/// What drives a case: it knows what was sent before.
pub(super) struct Driver {
    kind: Kind,
    sent: u64,
}

impl Driver {
    pub(super) fn new(case: &Case) -> Self {
        Self { kind: case.kind, sent: 0 }
    }

    /// Sends so many frames and a marker, and waits until the guest is done with them.
    pub(super) fn batch(&mut self, wire: &mut Wire, frames: u32) -> Result<()> {
        match self.kind {
            Kind::Udp => {
                // Frames are processed in their order, so the answer comes when all are.
                let mut batch: Vec<Frame> = (0..frames).map(|_| self.datagram()).collect();
                batch.push(who_has());
                wire.send(&batch)?;
                while !is_arp_reply(&wire.receive()?) {}
            }
            Kind::Reflect => {
                let batch: Vec<Frame> = (0..=frames).map(|_| experiment()).collect();
                wire.send(&batch)?;
                let mut back = 0;
                while back <= frames {
                    back += u32::from(wire.receive()?[12..14] == EXPERIMENTAL.to_be_bytes());
                }
            }
        }
        Ok(())
    }

    fn datagram(&mut self) -> Frame {
        let mut payload = [0; PAYLOAD];
        let header = Header::new(1, self.sent, 0);
        self.sent += 1;
        payload[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        Frame::build(PREFIX + SHORTEST + PAYLOAD, |frame| {
            let mut bytes = Vec::new();
            PacketBuilder::ethernet2(SOURCE.mac, GUEST.mac)
                .ipv4(SOURCE.ip.octets(), GUEST.ip.octets(), 64)
                .udp(PORT, PORT)
                .write(&mut bytes, &payload)
                .expect("a vector takes what fits into an Ethernet frame");
            frame.extend(bytes);
        })
    }
}

fn is_arp_reply(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&ARP) && frame.get(20..22) == Some(&REPLY)
}

/// Asks for the guest's address.
pub(super) fn who_has() -> Frame {
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

/// A frame of no known protocol.
fn experiment() -> Frame {
    Frame::build(SHORTEST, |frame| {
        frame.extend(GUEST.mac);
        frame.extend(SOURCE.mac);
        frame.extend(EXPERIMENTAL.to_be_bytes());
        frame.resize(PREFIX + SHORTEST, 0);
    })
}
