use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec;
use core::convert::Infallible;

use futures_executor::block_on;
use godwit::io::ErrorType;

use super::*;
use crate::bounds::{Bounds, MAX_CLIENTS};
use crate::store::{MAX_VALUE, Store};

/// A client that sends what it has in these pieces, and keeps what it is sent.
#[derive(Default)]
struct Client {
    sends: VecDeque<Vec<u8>>,
    received: Vec<u8>,
    /// How often something was written to it.
    writes: usize,
}

impl ErrorType for &mut Client {
    type Error = Infallible;
}

impl Read for &mut Client {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(piece) = self.sends.front_mut() else { return Ok(0) };
        let len = piece.len().min(buffer.len());
        buffer[..len].copy_from_slice(&piece[..len]);
        piece.drain(..len);
        if piece.is_empty() {
            self.sends.pop_front();
        }
        Ok(len)
    }
}

impl Write for &mut Client {
    async fn write(&mut self, data: &[u8]) -> Result<usize, Infallible> {
        self.received.extend_from_slice(data);
        self.writes += 1;
        Ok(data.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

fn database() -> RefCell<Database> {
    RefCell::new(Database::new(Store::new(1 << 20, 7), Bounds::within(usize::MAX)))
}

/// What a client gets for what it sends in these pieces.
fn talk(database: &RefCell<Database>, pieces: impl IntoIterator<Item = Vec<u8>>) -> Client {
    let mut client = Client { sends: pieces.into_iter().collect(), ..Client::default() };
    block_on(serve(&mut client, database, || true)).unwrap();
    client
}

fn reply(database: &RefCell<Database>, request: &[u8]) -> Vec<u8> {
    talk(database, [request.to_vec()]).received
}

#[test]
fn requests_that_arrive_together_are_answered_together() {
    let client = talk(&database(), [b"SET k 1\r\n".repeat(16), b"*2\r\n$4\r\nINCR\r\n".to_vec()]);
    assert_eq!(client.received, b"+OK\r\n".repeat(16));
    // Before the first request there is nothing to say, and nothing behind the last whole one.
    assert_eq!(client.writes, 1);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    let client = talk(&database(), request.iter().map(|&byte| vec![byte]));
    assert_eq!(client.received, b"+OK\r\n$2\r\n\r\n\r\n");
}

#[test]
fn the_longest_value_comes_back() {
    let value = vec![b'x'; MAX_VALUE];
    let request = [
        format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${MAX_VALUE}\r\n").into_bytes(),
        value.clone(),
        b"\r\nGET k\r\n".to_vec(),
    ]
    .concat();
    let expected = [format!("+OK\r\n${MAX_VALUE}\r\n").as_bytes(), &value, b"\r\n"].concat();
    assert!(reply(&database(), &request) == expected);
}

#[test]
fn a_request_that_is_too_long_is_refused_and_the_client_as_well() {
    let mut request = format!("*2\r\n$3\r\nGET\r\n${}\r\n", 1 << 30).into_bytes();
    request.resize(2 * MAX_BUFFER, b'x');
    assert_eq!(reply(&database(), &request), b"-ERR Protocol error: too big request\r\n");
}

#[test]
fn what_is_broken_ends_the_connection() {
    let request = b"PING\r\n*1\r\n:1\r\nPING\r\n";
    assert_eq!(reply(&database(), request), b"+PONG\r\n-ERR Protocol error: expected '$'\r\n");
    assert_eq!(reply(&database(), b"PING\r\nQUIT\r\nPING\r\n"), b"+PONG\r\n+OK\r\n");
}

#[test]
fn an_unknown_command_is_an_error_and_a_form_of_a_browser_the_end() {
    let request = b"*1\r\n$4\r\nNOPE\r\nPING\r\n";
    assert_eq!(reply(&database(), request), b"-ERR unknown command 'NOPE'\r\n+PONG\r\n");
    let request = b"POST / HTTP/1.1\r\nFLUSHALL\r\n";
    assert_eq!(reply(&database(), request), b"-ERR unknown command 'POST'\r\n");
}

#[test]
fn many_replies_are_sent_before_there_are_too_many() {
    let database = database();
    let value = "x".repeat(1000);
    reply(&database, format!("SET k {value}\r\n").as_bytes());
    let client = talk(&database, [b"GET k\r\n".repeat(400)]);
    assert_eq!(client.received.len(), 400 * (7 + 1000 + 2));
    assert!(client.writes >= 400 * 1000 / (2 * BATCH), "{}", client.writes);
}

#[test]
fn there_is_room_for_so_many_clients() {
    let database = database();
    let seats: Vec<_> = (0..MAX_CLIENTS).map(|_| Seat::take(&database)).collect();
    assert_eq!(reply(&database, b"PING\r\n"), b"-ERR max number of clients reached\r\n");
    drop(seats);
    assert_eq!(reply(&database, b"PING\r\n"), b"+PONG\r\n");
    assert_eq!(database.borrow().clients, 0);
}

#[test]
fn only_so_many_have_long_replies_or_requests_at_a_time() {
    let database = database();
    let value = "x".repeat(100_000);
    reply(&database, format!("SET k {value}\r\n").as_bytes());
    database.borrow_mut().bounds.large = 1;
    let other = Large::take(&database).unwrap();
    let long_request = format!("SET k {value}\r\n").into_bytes();
    for request in [&b"GET k\r\n"[..], &long_request] {
        let refused = reply(&database, request);
        assert!(refused.starts_with(b"-OOM too many clients have long"), "{refused:?}");
    }
    assert_eq!(reply(&database, b"PING\r\n"), b"+PONG\r\n");
    drop(other);
    assert_eq!(reply(&database, b"GET k\r\n").len(), 100_000 + 11);
    assert_eq!(database.borrow().large, 0);
}

#[test]
fn a_machine_that_leaves_takes_no_writes() {
    let database = database();
    reply(&database, b"SET k 1\r\n");
    let mut client = Client::default();
    client.sends.push_back(b"SET k 2\r\nGET k\r\n".to_vec());
    block_on(serve(&mut client, &database, || false)).unwrap();
    let expected = b"-LOADING the machine is migrating: try again in a moment\r\n$1\r\n1\r\n";
    assert_eq!(client.received, expected);
}

#[test]
fn a_buffer_that_was_needed_once_is_given_back() {
    let mut client = Client::default();
    client.sends.extend([vec![b'x'; MAX_BUFFER - 1], vec![b'x']]);
    let mut input = Input::default();
    while !input.is_full() {
        assert!(block_on(input.read(&mut &mut client)).unwrap());
    }
    assert_eq!(input.buffer.capacity(), MAX_BUFFER);
    input.consume(MAX_BUFFER);
    block_on(input.read(&mut &mut client)).unwrap();
    assert_eq!(input.buffer.capacity(), MIN_BUFFER);
}
