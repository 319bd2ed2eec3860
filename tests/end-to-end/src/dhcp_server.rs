//! A DHCP server (RFC 2131) with one address, that refuses renewals when it is told to.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use anyhow::{Context, Result};

/// Where in a message addresses begin, the one that is offered is, the client's station is, and the
/// options begin (section 2).
const ADDRESSES: usize = 12;
const YOURS: usize = 16;
const STATION: usize = 28;
const OPTIONS: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Options of RFC 2132.
const NETMASK: u8 = 1;
const ROUTER: u8 = 3;
const LEASE: u8 = 51;
const TYPE: u8 = 53;
const SERVER: u8 = 54;
const END: u8 = 255;
/// Types of messages (RFC 2132, 9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// The server, for as long as the process is, or the network that it was started in.
pub(crate) struct DhcpServer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    refuses: AtomicBool,
    refused: AtomicU32,
    granted: AtomicU32,
}

impl DhcpServer {
    /// Grants `address` of a /24 for so many seconds, with `server` as router.
    pub(crate) fn start(server: Ipv4Addr, address: Ipv4Addr, seconds: u32) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).context("the DHCP server")?;
        socket.set_broadcast(true)?;
        let shared = Arc::new(Shared::default());
        let its = shared.clone();
        thread::spawn(move || {
            let mut message = [0; 1500];
            while let Ok((len, _)) = socket.recv_from(&mut message) {
                let Some(kind) = kind(&message[..len]) else { continue };
                let answer = match kind {
                    DISCOVER => OFFER,
                    // Once: what follows is an exchange from the beginning.
                    REQUEST if its.refuses.swap(false, Relaxed) => NAK,
                    REQUEST => ACK,
                    _ => continue,
                };
                let reply = reply(&message, answer, server, address, seconds);
                // A client that gets none asks again.
                let _ = socket.send_to(&reply, (Ipv4Addr::BROADCAST, 68));
                match answer {
                    NAK => its.refused.fetch_add(1, Relaxed),
                    ACK => its.granted.fetch_add(1, Relaxed),
                    _ => 0,
                };
            }
        });
        Ok(Self(shared))
    }

    /// Refuses the next request.
    pub(crate) fn refuse(&self) {
        self.0.refuses.store(true, Relaxed);
    }

    /// Requests refused, and granted.
    pub(crate) fn answers(&self) -> (u32, u32) {
        (self.0.refused.load(Relaxed), self.0.granted.load(Relaxed))
    }
}

/// What kind of message it is.
fn kind(message: &[u8]) -> Option<u8> {
    let mut options = message.get(OPTIONS..)?.strip_prefix(&COOKIE)?;
    loop {
        match *options {
            [TYPE, 1, kind, ..] => return Some(kind),
            // Padding.
            [0, ref rest @ ..] => options = rest,
            [END, ..] => return None,
            [_, len, ref rest @ ..] => options = rest.get(usize::from(len)..)?,
            _ => return None,
        }
    }
}

fn reply(request: &[u8], kind: u8, server: Ipv4Addr, address: Ipv4Addr, seconds: u32) -> Vec<u8> {
    // Transaction, flags and client's station are as in the request.
    let mut reply = request[..OPTIONS].to_vec();
    reply[0] = 2;
    reply[ADDRESSES..STATION].fill(0);
    reply.extend(COOKIE);
    reply.extend([TYPE, 1, kind, SERVER, 4]);
    reply.extend(server.octets());
    if kind != NAK {
        reply[YOURS..YOURS + 4].copy_from_slice(&address.octets());
        reply.extend([NETMASK, 4, 255, 255, 255, 0, ROUTER, 4]);
        reply.extend(server.octets());
        reply.extend([LEASE, 4]);
        reply.extend(seconds.to_be_bytes());
    }
    reply.push(END);
    reply
}
