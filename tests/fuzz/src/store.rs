//! Clients of the key-value store.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;

use godwit::futures::block_on;
use godwit::io::{ErrorType, Read, Write};
use kv::{Bounds, Database, Store, serve};
use redis_protocol::resp2::decode::decode;

use crate::steps::{input, steps};

/// What keys and values may take: little, so that inputs fill it.
const MEMORY: usize = 64 << 10;
/// Of a step's control byte: the next client, whatever this one was in the middle of.
const NEXT: u8 = 0;

/// A client that sends these pieces, and keeps what it is sent.
#[derive(Default)]
struct Client<'a> {
    sends: VecDeque<&'a [u8]>,
    received: Vec<u8>,
}

impl ErrorType for Client<'_> {
    type Error = Infallible;
}

impl Read for Client<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        while let Some(piece) = self.sends.front_mut() {
            let len = piece.len().min(buffer.len());
            buffer[..len].copy_from_slice(&piece[..len]);
            *piece = &piece[len..];
            if len != 0 {
                return Ok(len);
            }
            self.sends.pop_front();
        }
        Ok(0)
    }
}

impl Write for Client<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, Infallible> {
        self.received.extend_from_slice(data);
        Ok(data.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Requests in pieces, of one client after the other.
pub(crate) fn read(input: &[u8]) {
    let database = RefCell::new(Database::new(Store::new(MEMORY, 7), Bounds::within(usize::MAX)));
    let mut client = Client::default();
    for step in steps(input) {
        if step.has(NEXT) {
            talk(&database, core::mem::take(&mut client));
        }
        client.sends.push_back(step.bytes);
    }
    talk(&database, client);
    // Whoever comes next is served, as if nobody had been there.
    let ping = Client { sends: [&b"PING\r\n"[..]].into(), received: Vec::new() };
    assert_eq!(talk(&database, ping), b"+PONG\r\n");
}

/// What the client is answered.
///
/// # Panics
/// It is no sequence of replies.
fn talk(database: &RefCell<Database>, mut client: Client<'_>) -> Vec<u8> {
    let Ok(()) = block_on(serve(&mut client, database, || true));
    let mut rest = &client.received[..];
    while !rest.is_empty() {
        match decode(rest) {
            Ok(Some((_, len))) => rest = &rest[len..],
            other => panic!("{other:?} of {:?}", String::from_utf8_lossy(rest)),
        }
    }
    client.received
}

/// Sessions with each kind of value.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let sessions: [&[u8]; 6] = [
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"SET n 9223372036854775806\r\nINCR n\r\nINCR n\r\nDECRBY n -1\r\nAPPEND n x\r\nSTRLEN n\n",
        b"RPUSH l a b c\r\nLPUSH l d\r\nLRANGE l -2 99\r\nLPOP l 9\r\nRPOP l\r\nLLEN l\r\nGET l\n",
        b"SET k v EX 1 NX\r\nEXPIRE k -1\r\nTTL k\r\nPEXPIRE k 9223372036854775807\r\nPERSIST k\n",
        b"MSET a 1 b 2\r\nMGET a b c\r\nKEYS [a-\r\nSCAN 0 MATCH *[^x]? COUNT 3\r\nDEL a b\r\n",
        b"*1\r\n$4\r\na\r\nb\r\nINFO\nCONFIG GET *\nCOMMAND\nHELLO 3\nSELECT 1\nFLUSHALL\nQUIT\n",
    ];
    let mut seeds: Vec<_> = sessions
        .iter()
        .map(|session| {
            let (head, tail) = session.split_at(session.len() / 2);
            input([(0, head), (0, tail), (1 << NEXT, *session)])
        })
        .collect();
    let long = [&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$30000\r\n"[..], &[b'x'; 30000], b"\r\n"].concat();
    seeds.push(input([(0, &long[..]), (0, &long), (1 << NEXT, b"*1048576\r\n$"), (0, b"-1\r\n")]));
    seeds
}
