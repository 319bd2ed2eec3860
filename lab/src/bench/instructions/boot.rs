//! Instructions from a machine's start to its first reply, by what they are for, and how long that
//! takes without counting.
//!
//! Waiting costs none: the guest sleeps, or it asks a device again and again, which counts as the
//! part that asks. A second of the machine is a thousand million instructions or the sleep between
//! them (`-icount shift=0`), so that how long it waits does not depend on this machine either.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    Machine,
    layers::{Cost, Parts, Symbols},
    marker::send_marked,
    wire,
};
use crate::{
    addresses::GUEST,
    bench::size,
    build::{application, qemu},
    guest::{Guest, READY, Wire},
    parts::NicModel,
    result::median,
    system::{paths, progress::Step, scratch::Scratch},
};

/// What a boot consists of.
const PARTS: Parts = &[
    ("unikernel::memory::", "memory: map, page tables, heap"),
    ("unikernel::arch::paging::", "memory: map, page tables, heap"),
    ("linked_list_allocator::", "memory: map, page tables, heap"),
    ("unikernel::acpi::", "ACPI"),
    ("unikernel::time::", "clocks and timer"),
    ("unikernel::arch::", "processor and interrupts"),
    ("unikernel::pci::", "PCI"),
    ("unikernel::mmio::", "device registers"),
    ("unikernel::dma::", "DMA pool and rings"),
    ("drivers::", "driver"),
    ("unikernel::net::", "network"),
    ("smoltcp::", "network"),
    ("unikernel::console::", "console"),
    ("unikernel::logger::", "console"),
    ("core::fmt::", "console"),
    ("compiler_builtins::mem", "copying and zeroing"),
    ("net_app::", "application"),
    ("godwit::", "application"),
];
/// How often it is timed.
const ROUNDS: usize = 5;
const FUNCTIONS: usize = 12;
/// After the guest is ready it looks for root buses beyond the first, which then is in each count.
const SETTLED: Duration = Duration::from_secs(1);

/// What a boot costs.
#[derive(Debug, Clone, PartialEq)]
struct Boot {
    /// Instructions of the guest, up to its first reply.
    guest: Cost,
    /// And before it, of QEMU's firmware.
    firmware: u64,
}

/// How long it takes in software, from QEMU's start on.
struct Timed {
    /// Until the guest runs: QEMU and its firmware.
    begun: Duration,
    /// Until it is ready.
    ready: Duration,
    /// Until it has answered.
    replied: Duration,
}

/// Counts a boot, times several, and prints what came out.
///
/// # Errors
/// The guest cannot be built, or does not answer.
pub fn boot(nic: NicModel) -> Result<Value> {
    let step = Step::new(format!("Counting a boot with {nic}"));
    let Boot { guest, firmware } = count_boot(nic)?;
    let rounds = (0..ROUNDS).map(|_| time(nic)).collect::<Result<Vec<_>>>()?;
    step.finish("done");
    println!("boot with {nic}: {:.0} instructions, and {firmware} of firmware before", guest.total);
    for (part, count) in &guest.layers {
        println!("  {count:>9.0}  {part}");
    }
    println!("  by function, with what is inlined into it");
    for (function, count) in guest.functions.iter().take(FUNCTIONS) {
        println!("  {count:>9.0}  {function}");
    }
    let of = |what: fn(&Timed) -> Duration| {
        let mut all: Vec<f64> = rounds.iter().map(|round| what(round).as_secs_f64()).collect();
        all.sort_by(f64::total_cmp);
        median(&all).unwrap_or(f64::NAN)
    };
    let [begun, ready, replied] = [of(|t| t.begun), of(|t| t.ready), of(|t| t.replied)];
    println!(
        "  the guest runs after {begun:.3} s, is ready after {ready:.3} s, and has replied after \
         {replied:.3} s (medians of {ROUNDS})\n"
    );
    Ok(json!({
        "nic": nic.to_string(), "firmware": firmware, "guest": guest.total,
        "parts": guest.layers, "functions": guest.functions,
        "seconds": { "begun": begun, "ready": ready, "replied": replied },
    }))
}

/// Counts a boot up to the answer to a first frame.
fn count_boot(nic: NicModel) -> Result<Boot> {
    let image = application::ours()?;
    let mut machine = Machine::start(&image, nic, "boot", "recorder=0 marking=never")?;
    machine.guest.wait_for(READY)?;
    thread::sleep(SETTLED);
    send_marked(&mut machine.wire, Vec::new())?;
    let counts = machine.counter.now()?;
    machine.guest.ensure_running()?;
    let loaded = size::range(&image)?;
    let (ours, firmware) = counts.split(|address| loaded.contains(&address));
    Ok(Boot { guest: Symbols::of(&image, PARTS)?.cost(&ours, 1.0), firmware })
}

/// The same without anybody who counts.
fn time(nic: NicModel) -> Result<Timed> {
    let sockets = Scratch::new()?;
    let path = sockets.join("wire");
    let wire = wire::Listener::new(&path)?;
    let log = paths::target().join("bench-logs").join(format!("boot-{nic}.log"));
    let append = format!("ip={}/24 log=debug recorder=0", GUEST.ip);
    let (qemu, image) = (qemu::get()?, application::ours()?);
    let started = Instant::now();
    let wires = Wire::Socket(Path::new(&path));
    let mut guest = Guest::boot_image(&qemu, &image, &wires, nic, &log, &append, &[])?;
    let mut wire = wire.accept()?;
    // The first that it says.
    guest.wait_for("memory: pool").context("the guest's first words")?;
    let begun = started.elapsed();
    guest.wait_for(READY)?;
    let ready = started.elapsed();
    send_marked(&mut wire, Vec::new())?;
    Ok(Timed { begun, ready, replied: started.elapsed() })
}
