//! What marking costs on this processor, natively: the DMA layer as the guest has it, on ordinary
//! memory. Prints one line of JSON, for `cargo xtask bench dma`.
//!
//! The first write to a page after the hypervisor began to log (or took the log) costs a fault on
//! top, whoever writes and whatever for; that is the hypervisor's, and not in these figures.

use std::time::Instant;

use unikernel::dma::{FromDevice, Policy, Pool, RxBuffer, Stream, fake};

/// The pool of a guest that was told nothing.
const POOL: usize = 16 << 20;
/// Length of a received frame.
const FRAME: usize = 1514;
/// Each figure is the median of so many; those compared take turns.
const ROUNDS: usize = 31;
/// Frames received in a round.
const FRAMES: usize = 64 * 1024;
/// Frames that are kept while others are received: enough to go through more memory than a
/// second-level cache holds.
const KEPT: usize = 6 * 1024;
/// Buffer of a jumbo frame, in pages.
const JUMBO_PAGES: usize = 4;

fn main() {
    let off = fake::pool(POOL, Policy::Auto);
    let on = fake::pool(POOL, Policy::Auto);
    on.start_marking();
    let mut samples: [Vec<f64>; 7] = Default::default();
    let ticks_per_ns = ticks_per_ns();
    for _ in 0..ROUNDS {
        for (index, pool) in [off, on].into_iter().enumerate() {
            samples[index].push(receive(pool, 1));
            samples[2 + index].push(receive(pool, KEPT));
            samples[4 + index].push(receive_jumbo(pool));
        }
        samples[6].push(catch_up(on));
    }
    let [hot_off, hot_on, cold_off, cold_on, jumbo_off, jumbo_on, catch_up] = samples.map(median);
    let figure = |name: &str, ns: f64| {
        format!("\"{name}\":{{\"ns\":{ns:.2},\"cycles\":{:.1}}}", ns * ticks_per_ns)
    };
    let figures = [
        figure("frame_received_unmarked", hot_off),
        figure("frame_received_marked", hot_on),
        figure("frame_received_unmarked_out_of_cache", cold_off),
        figure("frame_received_marked_out_of_cache", cold_on),
        figure("mark_per_page", (jumbo_on - jumbo_off) / JUMBO_PAGES as f64),
        figure("mark_per_page_out_of_cache", cold_on - cold_off),
        figure("catch_up_per_page", catch_up),
    ];
    println!("{{{}}}", figures.join(","));
}

/// A buffer posted, completed by a device, handed on, and dropped after `kept` others: ns for each.
fn receive(pool: &'static Pool, kept: usize) -> f64 {
    let mut ring: Vec<Option<RxBuffer>> = (0..kept).map(|_| None).collect();
    let completed = fake::completed();
    let started = Instant::now();
    for place in (0..kept).cycle().take(FRAMES) {
        let stream = pool.receive_stream().expect("the pool is large enough");
        ring[place] = Some(stream.receive(&completed, FRAME).expect("the frame fits"));
    }
    started.elapsed().as_nanos() as f64 / FRAMES as f64
}

/// The same with a buffer of several pages that is used to its end.
fn receive_jumbo(pool: &'static Pool) -> f64 {
    let (bytes, completed) = (JUMBO_PAGES * 4096, fake::completed());
    let started = Instant::now();
    for _ in 0..FRAMES {
        let stream = pool.receive_stream_of(bytes).expect("the pool is large enough");
        drop(stream.receive(&completed, bytes).expect("the frame fits"));
    }
    started.elapsed().as_nanos() as f64 / FRAMES as f64
}

/// All of a pool that is posted to a device: ns for each page.
fn catch_up(pool: &'static Pool) -> f64 {
    let posted: Vec<Stream<FromDevice>> = (0..).map_while(|_| pool.receive_stream()).collect();
    let started = Instant::now();
    let (mut pages, mut from) = (0, 0);
    loop {
        let slice = pool.catch_up(from);
        pages += slice.pages;
        match slice.next {
            Some(next) => from = next,
            None => break,
        }
    }
    let elapsed = started.elapsed().as_nanos() as f64;
    drop(posted);
    elapsed / pages as f64
}

/// Cycles of the time stamp counter in a nanosecond.
fn ticks_per_ns() -> f64 {
    // SAFETY: every x86_64 processor has the instruction, and user programs may execute it.
    let ticks = || unsafe { core::arch::x86_64::_rdtsc() };
    let (started, before) = (Instant::now(), ticks());
    while started.elapsed().as_millis() < 50 {}
    (ticks() - before) as f64 / started.elapsed().as_nanos() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
