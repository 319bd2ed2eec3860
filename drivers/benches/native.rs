//! What a frame costs on this processor, natively: driver, DMA layer, stack and application as the
//! guest has them, and a NIC in memory. What the NIC does is not timed, but for the register that
//! it is told of a batch by. Prints one line of JSON, for `cargo xtask bench native`.
#![allow(dead_code, unused_imports, reason = "of the tests' rig, no test")]

#[path = "../tests/gigabit/family.rs"]
mod family;
#[path = "../tests/intel/mod.rs"]
mod intel;
#[path = "../tests/gigabit/nvm.rs"]
mod nvm;

use core::cell::Cell;
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Waker};
use std::time::{Duration, Instant};

use intel::Rig;
use intel::model::{CHECKED, Faults, MAC, Model, WHOLE};
use unikernel::net::{Addressing6, Config, Stack, UdpSocket};
use unikernel::nic::Settings;

const KIND: family::Kind = family::Kind::E1000e;

/// What the stack takes in one turn: two full batches, after which it has had enough.
const BATCH: usize = 64;
/// Turns that are timed, of which the median counts: what else the machine does takes few.
const TURNS: usize = 2_000;
/// Lengths without the frame check sequence.
const LENGTHS: [usize; 2] = [64 - FCS, 1518 - FCS];
const FCS: usize = 4;
const PORT: u16 = 7;
/// Ethernet, IPv4 and UDP.
const HEADERS: usize = 42;

fn main() {
    let figures = LENGTHS.into_iter().flat_map(|len| {
        let (received, reflected) = (time(len, receive), time(len, reflect));
        let figure = |what, ns| format!("\"{what}_{}\":{ns:.1}", len + FCS);
        [figure("received", received), figure("reflected", reflected)]
    });
    let figures: Vec<_> = figures.collect();
    println!("{{{}}}", figures.join(","));
}

/// The nanoseconds of a frame of that length, as `measure` finds them for each turn.
fn time(len: usize, measure: fn(&Stack, &Model, usize) -> Vec<Duration>) -> f64 {
    let mut rig = Rig::of(Settings::default());
    rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
    let addressing = "10.0.0.1/24".parse().expect("an address");
    let config = Config { addressing, addressing6: Addressing6::Off, ..Config::default() };
    let stack = Stack::new(rig.pool, config);
    // The rig has another instead.
    let nic = core::mem::replace(&mut rig.nic, Rig::new().nic);
    assert!(stack.attach(nic).is_ok());
    let mut turns = measure(&stack, &rig.model, len);
    turns.sort_unstable();
    turns[turns.len() / 2].as_nanos() as f64 / BATCH as f64
}

/// Datagrams that an application sees in place.
fn receive(stack: &Stack, model: &Model, len: usize) -> Vec<Duration> {
    let socket = UdpSocket::bind(stack, PORT, 2 * BATCH, 2 * BATCH * len).expect("memory");
    let bytes = Cell::new(0);
    let mut application = pin!(async {
        loop {
            socket.receive_each(|_, payload| bytes.set(bytes.get() + payload.len())).await;
        }
    });
    let datagram = datagram(len);
    let turns = turns(stack, model, (&datagram, CHECKED), |context| {
        assert!(application.as_mut().poll(context).is_pending());
    });
    // The last batch may be in the ring still.
    assert!(bytes.get() >= turns.len() * BATCH * (len - HEADERS), "they have not arrived");
    turns
}

/// Frames of no protocol that go back with their addresses swapped.
fn reflect(stack: &Stack, model: &Model, len: usize) -> Vec<Duration> {
    let is_ours = |frame: &[u8]| frame.get(12..14) == Some(&[0x88, 0xb5]);
    let swap = |frame: &mut [u8]| frame[..12].rotate_left(6);
    let _reflection = stack.reflect(Box::new(is_ours), Box::new(swap));
    let turns = turns(stack, model, (&intel::frame(0, len), WHOLE), |_| {});
    assert!(stack.traffic().tx_frames as usize >= turns.len() * BATCH, "they were not sent");
    turns
}

/// What each turn of the stack takes, and of an application after it, in which a batch of such
/// frames has arrived. The first one is not among them.
fn turns(
    stack: &Stack,
    model: &Model,
    (frame, status): (&[u8], u32),
    mut application: impl FnMut(&mut Context<'_>),
) -> Vec<Duration> {
    let context = &mut Context::from_waker(Waker::noop());
    let mut run = pin!(stack.run());
    // The link comes up.
    assert!(run.as_mut().poll(context).is_pending());
    application(context);
    let turn = |_| {
        for _ in 0..BATCH {
            assert!(model.write_back(frame, frame.len() as u16, status));
        }
        let started = Instant::now();
        assert!(run.as_mut().poll(context).is_pending());
        application(context);
        let elapsed = started.elapsed();
        model.transmit();
        model.take_sent();
        elapsed
    };
    let turns: Vec<_> = (0..=TURNS).map(turn).collect();
    turns[1..].to_vec()
}

/// A datagram in a frame of that length. The NIC has found its checksums right.
fn datagram(len: usize) -> Vec<u8> {
    let [packet, datagram] = [len - 14, len - 34].map(|len| (len as u16).to_be_bytes());
    let mut frame = vec![0; len];
    frame[..12].copy_from_slice(&[&MAC[..], &[2, 0, 0, 0, 0, 9]].concat());
    frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    frame[16..18].copy_from_slice(&packet);
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
    frame[34..38].copy_from_slice(&[[0, 9], PORT.to_be_bytes()].concat());
    frame[38..40].copy_from_slice(&datagram);
    frame
}
