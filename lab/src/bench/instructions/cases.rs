//! What is sent to the guest, and how it shows that it is done with it.

use anyhow::{Result, ensure};
use etherparse::PacketBuilder;
use godwit_probe::{Header, PORT};
use zerocopy::IntoBytes;

use super::{
    connection::Connection,
    marker::{SHORTEST, send_marked},
    tcp::{Client, Service},
    wire::Wire,
};
use crate::{
    addresses::{GUEST, HTTP_PORT, SOURCE},
    segment::{Frame, PREFIX},
};

/// Bytes of UDP payload.
const PAYLOAD: usize = 64;
/// What a browser that has no use for the connection afterwards asks for.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n";
/// An experimental type (IEEE 802, local experimental ethertype 1).
const EXPERIMENTAL: u16 = 0x88b5;

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
    /// What a client sends or receives.
    Tcp(Service),
    /// A page, by a connection of its own.
    Page,
}

/// All of them.
pub const CASES: [Case; 11] = [
    case("udp-marking", "net-app", "recorder=0 marking=always", Kind::Udp),
    case("udp", "net-app", "recorder=0 marking=never", Kind::Udp),
    case("udp-recorded", "net-app", "recorder=64K marking=never", Kind::Udp),
    case("reflect", "examples/reflect", "marking=never", Kind::Reflect),
    tcp("tcp-received", "net-app", Service::Bulk { reverse: false }),
    tcp("tcp-sent", "net-app", Service::Bulk { reverse: true }),
    tcp("kv", "examples/kv", Service::Store),
    case("http", "examples/http", "recorder=0 marking=never", Kind::Page),
    tcp("echo", "examples/echo", Service::Echo { idle: 0 }),
    tcp("echo-100", "examples/echo", Service::Echo { idle: 100 }),
    tcp("echo-1000", "examples/echo", Service::Echo { idle: 1000 }),
];

const fn case(
    name: &'static str,
    application: &'static str,
    append: &'static str,
    kind: Kind,
) -> Case {
    Case { name, application, append, kind }
}

const fn tcp(name: &'static str, application: &'static str, service: Service) -> Case {
    case(name, application, "recorder=0 marking=never", Kind::Tcp(service))
}

/// What drives a case: it knows what was sent before.
pub(super) enum Driver {
    Udp { sent: u64 },
    Reflect,
    Tcp(Client),
    Page { asked: u16 },
}

impl Driver {
    /// Gets the guest to where what counts can begin.
    pub(super) fn new(case: &Case, wire: &mut Wire) -> Result<Self> {
        Ok(match case.kind {
            Kind::Udp => Self::Udp { sent: 0 },
            Kind::Reflect => Self::Reflect,
            Kind::Tcp(service) => Self::Tcp(Client::new(wire, service)?),
            Kind::Page => {
                // The guest gets to know where we are.
                send_marked(wire, Vec::new())?;
                Self::Page { asked: 0 }
            }
        })
    }

    /// Sends so many frames and a marker, and waits until the guest is done with them.
    pub(super) fn batch(&mut self, wire: &mut Wire, frames: u32) -> Result<()> {
        match self {
            Self::Udp { sent } => {
                let batch = (0..frames).map(|_| {
                    *sent += 1;
                    datagram(*sent - 1)
                });
                send_marked(wire, batch.collect())?;
            }
            Self::Reflect => {
                let batch: Vec<Frame> = (0..=frames).map(|_| experiment()).collect();
                wire.send(&batch)?;
                let mut back = 0;
                while back <= frames {
                    back += u32::from(wire.receive()?[12..14] == EXPERIMENTAL.to_be_bytes());
                }
            }
            Self::Tcp(client) => client.batch(wire, frames)?,
            Self::Page { asked } => {
                for _ in 0..frames {
                    let connection = Connection::open(wire, *asked, HTTP_PORT)?;
                    let page = connection.ask_once(wire, REQUEST)?;
                    ensure!(page.starts_with(b"HTTP/1.1 200 "), "no page came");
                    *asked += 1;
                }
                send_marked(wire, Vec::new())?;
            }
        }
        Ok(())
    }
}

fn datagram(number: u64) -> Frame {
    let mut payload = [0; PAYLOAD];
    let header = Header::new(1, number, 0);
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

/// A frame of no known protocol.
fn experiment() -> Frame {
    Frame::build(SHORTEST, |frame| {
        frame.extend(GUEST.mac);
        frame.extend(SOURCE.mac);
        frame.extend(EXPERIMENTAL.to_be_bytes());
        frame.resize(PREFIX + SHORTEST, 0);
    })
}
