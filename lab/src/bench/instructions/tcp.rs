//! Services over TCP, as a client of theirs has it: bulk data either way, and requests.

use anyhow::Result;

use super::{
    connection::{Connection, SEGMENT},
    marker::send_marked,
    wire::Wire,
};
use crate::{
    addresses::{ECHO_PORT, IPERF3_PORT},
    segment::Frame,
};

/// Where the key-value store is.
const STORE_PORT: u16 = 6379;
/// What is asked for.
const KEY: &[u8] = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
/// Who an iperf3 client is (`iperf_make_cookie`).
const COOKIE: [u8; 37] = *b"abcdefghijklmnopqrstuvwxyz0123456789\0";
/// Windows until the guest's congestion window is larger than all that is asked for.
const ROUNDS: usize = 16;

/// What is asked of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// iperf3: full segments to the guest, or with `reverse` from it.
    Bulk { reverse: bool },
    /// A key. What counts as a frame is a request, with its answer.
    Store,
    /// A few bytes come back, beside so many connections that say nothing any more. The same.
    Echo { idle: u16 },
}

/// One that asks for it.
pub(super) struct Client {
    service: Service,
    /// Of iperf3.
    control: Option<Connection>,
    busy: Connection,
}

impl Client {
    pub(super) fn new(wire: &mut Wire, service: Service) -> Result<Self> {
        // The guest gets to know where we are.
        send_marked(wire, Vec::new())?;
        match service {
            Service::Bulk { reverse } => Self::begin_test(wire, service, reverse),
            Service::Store => Self::connect(wire, service, STORE_PORT, 0),
            Service::Echo { idle } => Self::connect(wire, service, ECHO_PORT, idle),
        }
    }

    fn connect(wire: &mut Wire, service: Service, port: u16, idle: u16) -> Result<Self> {
        for index in 0..idle {
            // One that has had an answer is there.
            let mut connection = Connection::open(wire, 1 + index, port)?;
            request(wire, &mut connection, KEY)?;
            wire.send(&[connection.acknowledgement()])?;
        }
        Ok(Self { service, control: None, busy: Connection::open(wire, 0, port)? })
    }

    /// Goes through the protocol of iperf3 until data is due (`net-app/src/iperf3/protocol.rs`).
    fn begin_test(wire: &mut Wire, service: Service, reverse: bool) -> Result<Self> {
        let mut control = Connection::open(wire, 0, IPERF3_PORT)?;
        wire.send(&[control.segment(&COOKIE)])?;
        control.receive(wire, false, |states| states.len() == 1)?;
        // Without a delay: a segment is cut where the guest's buffer goes round, and the rest of it
        // would wait for an answer.
        let parameters =
            format!(r#"{{"tcp":true,"time":0,"parallel":1,"nodelay":true,"reverse":{reverse}}}"#);
        let length = (parameters.len() as u32).to_be_bytes();
        wire.send(&[control.segment(&length), control.segment(parameters.as_bytes())])?;
        control.receive(wire, false, |states| states.len() == 1)?;
        let mut busy = Connection::open(wire, 1, IPERF3_PORT)?;
        busy.allow(0);
        wire.send(&[busy.segment(&COOKIE)])?;
        control.receive(wire, false, |states| states.len() == 2)?;
        wire.send(&[control.acknowledgement()])?;
        let mut client = Self { service, control: Some(control), busy };
        if reverse {
            for _ in 0..ROUNDS {
                client.receive(wire, SEGMENT * 32, true)?;
            }
        }
        Ok(client)
    }

    /// Has the guest do it so many times, and then deal with a marker.
    pub(super) fn batch(&mut self, wire: &mut Wire, count: u32) -> Result<()> {
        let mut last = Vec::new();
        match self.service {
            Service::Bulk { reverse: false } => {
                let data = [0; SEGMENT as usize];
                last.extend((0..count).map(|_| self.busy.segment(&data)));
            }
            Service::Bulk { reverse: true } if count != 0 => {
                last = self.receive(wire, SEGMENT * count, false)?;
            }
            Service::Store | Service::Echo { .. } => {
                for _ in 0..count {
                    request(wire, &mut self.busy, KEY)?;
                }
            }
            Service::Bulk { reverse: true } => {}
        }
        // In any batch, so in no difference: nobody is to be asked whether he is still there.
        if let Some(control) = &self.control {
            last.push(control.acknowledgement());
        }
        last.push(self.busy.acknowledgement());
        send_marked(wire, last)
    }

    /// Takes so many bytes of the guest, all that it may send, and returns the acknowledgements:
    /// they are sent at the end, unless `at_once`.
    fn receive(&mut self, wire: &mut Wire, bytes: u32, at_once: bool) -> Result<Vec<Frame>> {
        self.busy.allow(bytes as u16);
        wire.send(&[self.busy.acknowledgement()])?;
        self.busy.receive(wire, at_once, |data| data.len() == bytes as usize)?;
        Ok(self.busy.acknowledgements(bytes).collect())
    }
}

/// Sends a request, and receives an answer that ends with a line.
fn request(wire: &mut Wire, connection: &mut Connection, request: &[u8]) -> Result<()> {
    wire.send(&[connection.segment(request)])?;
    connection.receive(wire, true, |answer| answer.ends_with(b"\r\n"))?;
    Ok(())
}
