//! A key-value store in memory that `redis-cli` and other clients of Redis talk to (RESP2, port
//! 6379): `cargo xtask run --app examples/kv --forward 6379:6379`, then `redis-cli`.
//!
//! Keys of the command line:
//!
//! | key | what |
//! |---|---|
//! | `kv.memory=16M` | what keys and values may take, about; writes beyond it get `-OOM` |
//! | `kv.shed=on` | writes get `-LOADING` while the machine is about to leave its host |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod commands;
mod connection;
mod database;
mod failure;
mod glob;
mod reply;
mod request;
mod store;

use alloc::rc::Rc;
use core::cell::RefCell;
use core::time::Duration;

use godwit::cmdline::{Size, Switch};
use godwit::net::{Buffers, Error, TcpOptions, TcpStream};
use godwit::{State, System};

use database::Database;
use store::Store;

const PORT: u16 = 6379;
/// Clients that may come in the same moment: `redis-benchmark` is 50 of them.
const BACKLOG: usize = 64;
const BUFFERS: Buffers = Buffers { receive: 16 * 1024, transmit: 16 * 1024 };
/// A client that the machine has not heard of for so long is asked whether it is still there …
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// … and forgotten when it does not answer.
const GONE: Duration = Duration::from_secs(180);

#[godwit::main]
async fn main(system: System) -> Result<(), Error> {
    let line = system.command_line();
    let memory: Size = line.value("kv.memory", Size(16 << 20));
    let sheds: Switch = line.value("kv.shed", Switch(false));
    let store = Store::new(usize::try_from(memory.0).unwrap_or(usize::MAX), godwit::random::seed());
    let database = Rc::new(RefCell::new(Database::new(store)));
    let net = system.interface(0).await;
    let options = TcpOptions { backlog: BACKLOG, buffers: BUFFERS };
    let listener = net.tcp().bind_with(PORT, options)?;
    loop {
        let client = listener.accept().await;
        system.spawn(serve(system.clone(), database.clone(), client, sheds.0));
    }
}

/// Serves one client until it leaves.
async fn serve(system: System, database: Rc<RefCell<Database>>, client: TcpStream, sheds: bool) {
    // Replies are written whole: none of them is to wait for the next.
    client.set_nagle(false);
    client.set_keep_alive(Some(KEEP_ALIVE));
    client.set_timeout(Some(GONE));
    let takes_writes = || !(sheds && system.migration().state() == State::Leaving);
    if let Err(error) = connection::serve(client, &database, takes_writes).await {
        godwit::log::debug!("kv: {error}");
    }
}
