//! A migration with every party in a thread of its own: a device that fills buffers, a guest that
//! keeps what it receives, an agent that learns late, a hypervisor that copies all the while.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{scope, sleep};
use std::time::Duration;
use std::vec::Vec;

use super::catch_up;
use crate::dma::fake::{DEVICE_BASE, completed, pool};
use crate::dma::{FromDevice, PAGE_SIZE, Policy, Pool, RxBuffer, SLOT_SIZE, Stream};

const PAGES: usize = 32;
const HELD: usize = 40;
const PASSES: usize = 10;

fn pause() {
    sleep(Duration::from_micros(100));
}

/// A frame's whole content is one number, so that a torn or stale copy shows.
fn content(buffer: &[u8]) -> u64 {
    let (words, rest) = buffer.as_chunks::<8>();
    assert!(rest.is_empty() && words.iter().all(|word| word == &words[0]), "a torn frame");
    u64::from_le_bytes(words[0])
}

fn device(pool: &'static Pool, stop: &AtomicBool, ring: Receiver<u64>, done: Sender<()>) {
    let mut serial = 0u64;
    for address in ring {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        serial += 1;
        let frame: Vec<u8> = serial.to_le_bytes().into_iter().cycle().take(SLOT_SIZE).collect();
        pool.device().write(address, &frame);
        if done.send(()).is_err() {
            return;
        }
    }
}

/// Receives until the device is gone; returns what it still holds, with offsets in the pool.
fn guest(
    pool: &'static Pool,
    ring: Sender<u64>,
    done: Receiver<()>,
) -> VecDeque<(usize, RxBuffer)> {
    let mut posted: VecDeque<Stream<FromDevice>> = VecDeque::new();
    let mut held = VecDeque::new();
    loop {
        while posted.len() < 8 {
            let Some(stream) = pool.receive_stream() else { break };
            // The device may have left already, with the buffers it was given before.
            let _ = ring.send(stream.device_address());
            posted.push_back(stream);
        }
        if done.recv().is_err() {
            return held;
        }
        let stream = posted.pop_front().unwrap();
        let start = (stream.device_address() - DEVICE_BASE) as usize;
        let buffer = stream.receive(&completed(), SLOT_SIZE).unwrap();
        content(&buffer);
        held.push_back((start, buffer));
        if held.len() > HELD {
            held.pop_front();
        }
    }
}

/// How many held frames are stale on the destination.
fn migrate(policy: Policy) -> usize {
    let pool = pool(PAGES * PAGE_SIZE, policy);
    let (stop, logging) = (AtomicBool::new(false), AtomicBool::new(false));
    let acknowledged = AtomicU32::new(0);
    let (ring, ring_end) = channel();
    let (done, done_end) = channel();
    let log = pool.page_log();
    let received = || pool.statistics().buffers_received;
    scope(|scope| {
        let device = scope.spawn(|| device(pool, &stop, ring_end, done));
        let guest = scope.spawn(|| guest(pool, ring, done_end));
        scope.spawn(|| {
            while !logging.load(Ordering::Relaxed) {
                pause();
            }
            pool.start_marking();
            catch_up(pool);
            acknowledged.store(1, Ordering::Release);
        });

        // A guest that has failed says so when it is joined; nobody waits for it until then.
        let wait_for = |count: u64| {
            while received() < count && !guest.is_finished() {
                pause();
            }
        };
        wait_for(100);
        log.start();
        logging.store(true, Ordering::Relaxed);
        let mut destination = Vec::new();
        (0..PAGES).for_each(|page| destination.push(pool.device().copy_page(page)));
        let copy = |destination: &mut Vec<_>| {
            log.take()
                .into_iter()
                .for_each(|page| destination[page] = pool.device().copy_page(page));
        };
        for _ in 0..PASSES {
            copy(&mut destination);
            // Enough for every held frame to be another one than the last pass saw.
            wait_for(received() + 2 * HELD as u64);
        }
        while acknowledged.load(Ordering::Acquire) == 0 {
            pause();
        }
        stop.store(true, Ordering::Relaxed);
        let held = guest.join().unwrap();
        device.join().unwrap();
        copy(&mut destination);
        assert_eq!(held.len(), HELD);
        let stale = |(start, buffer): &&(usize, RxBuffer)| {
            let page = &destination[start / PAGE_SIZE];
            page[start % PAGE_SIZE..][..SLOT_SIZE] != buffer[..]
        };
        held.iter().filter(stale).count()
    })
}

#[test]
fn with_marking_nothing_is_stale() {
    for _ in 0..3 {
        assert_eq!(migrate(Policy::Auto), 0);
    }
}

#[test]
fn without_marking_everything_is() {
    assert_eq!(migrate(Policy::Never), HELD);
}
