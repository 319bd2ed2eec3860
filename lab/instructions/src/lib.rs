//! Counts the instructions that a guest executes, by address: a plugin for QEMU's TCG.
//!
//! `-plugin FILE,counts=SOCKET` connects to the unix socket SOCKET. Each byte that arrives there is
//! answered by all counts so far: their number, then an address and a count each, 64 bits, in this
//! machine's byte order. So what is executed between two moments is a difference, and boot and
//! idle are in neither.
//!
//! `cargo xtask bench instructions` builds it, asks and adds up. `qemu` is the only module with
//! `unsafe`: QEMU's interface is one of C.

mod qemu;

use std::{
    collections::HashMap,
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// How often the instruction at an address was executed. It lives as long as the machine, for
/// translated code refers to it.
type Counter = &'static AtomicU64;

static COUNTERS: LazyLock<Mutex<HashMap<u64, Counter>>> = LazyLock::new(Mutex::default);

/// The counter of an address: the same one however often its code is translated.
fn counter(address: u64) -> Counter {
    let mut counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    counters.entry(address).or_insert_with(|| Box::leak(Box::default()))
}

/// Answers on the socket until the other end closes it.
fn serve(mut socket: UnixStream) {
    let mut byte = [0];
    while socket.read_exact(&mut byte).is_ok() {
        if socket.write_all(&counts()).is_err() {
            return;
        }
    }
}

fn counts() -> Vec<u8> {
    let counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut answer = (counters.len() as u64).to_ne_bytes().to_vec();
    for (address, counter) in counters.iter() {
        answer.extend(address.to_ne_bytes());
        answer.extend(counter.load(Relaxed).to_ne_bytes());
    }
    answer
}
