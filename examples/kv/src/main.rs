//! A key-value store in memory that `redis-cli` and other clients of Redis talk to (RESP2, port
//! 6379): `cargo xtask run --app examples/kv --forward 6379:6379`, then `redis-cli`.
//!
//! `redis-benchmark` begins with 50 connections at once, which QEMU's own network (`--forward`)
//! takes two at a time, late ones after seconds: give it `-c 10`, or the machine a tap device.
//!
//! Keys of the command line:
//!
//! | key | what |
//! |---|---|
//! | `kv.memory=16M` | what keys and values may take, about, at most three quarters of the heap; |
//! | | writes beyond it get `-OOM` |
//! | `kv.shed=on` | writes get `-LOADING` while the machine is about to leave its host |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;
use core::cell::RefCell;
use core::time::Duration;

use godwit::cmdline::{Size, Switch};
use godwit::net::{Buffers, Error, TcpOptions, TcpStream};
use godwit::{HeapUse, State, System};

use kv::{Bounds, Database, Store};

const PORT: u16 = 6379;
/// Clients that may come in the same moment: `redis-benchmark` is 50 of them.
const BACKLOG: usize = 64;
const BUFFERS: Buffers = Buffers { receive: 16 * 1024, transmit: 16 * 1024 };
/// What of the heap is left to others: the stack, and connections that are waiting or closing.
const OTHERS: usize = 4 << 20;
/// A client that the machine has not heard of for so long is asked whether it is still there …
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// … and forgotten when it does not answer.
const GONE: Duration = Duration::from_secs(180);

#[godwit::main]
async fn main(system: System) -> Result<(), Error> {
    let line = system.command_line();
    let memory = limit(line.value("kv.memory", Size(16 << 20)), system.heap());
    let sheds: Switch = line.value("kv.shed", Switch(false));
    let store = Store::new(memory, godwit::random::seed());
    let left = (system.heap().free - memory).saturating_sub(OTHERS);
    let database = Rc::new(RefCell::new(Database::new(store, Bounds::within(left))));
    let net = system.interface(0).await;
    let options = TcpOptions { backlog: BACKLOG, buffers: BUFFERS };
    let listener = net.tcp().bind_with(PORT, options)?;
    loop {
        let client = listener.accept().await;
        system.spawn(serve(system.clone(), database.clone(), client, sheds.0));
    }
}

/// What the store may take of the heap: what was `asked` for, but a quarter is left to everything
/// else.
fn limit(asked: Size, heap: HeapUse) -> usize {
    let most = heap.free / 4 * 3;
    let asked = usize::try_from(asked.0).unwrap_or(usize::MAX);
    if asked > most {
        godwit::log::warn!(
            "kv.memory={} is more than this machine has to give: {} MiB are taken; give it more \
             memory",
            Size(asked as u64),
            most >> 20
        );
    }
    asked.min(most)
}

/// Serves one client until it leaves.
async fn serve(system: System, database: Rc<RefCell<Database>>, client: TcpStream, sheds: bool) {
    // Replies are written whole: none of them is to wait for the next.
    client.set_nagle(false);
    client.set_keep_alive(Some(KEEP_ALIVE));
    client.set_timeout(Some(GONE));
    let takes_writes = || !(sheds && system.migration().state() == State::Leaving);
    if let Err(error) = kv::serve(client, &database, takes_writes).await {
        godwit::log::trace!("kv: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_leaves_a_quarter_of_the_heap() {
        let heap = HeapUse { size: 100 << 20, free: 80 << 20 };
        assert_eq!(limit(Size(16 << 20), heap), 16 << 20);
        assert_eq!(limit(Size(1 << 40), heap), 60 << 20);
    }
}
