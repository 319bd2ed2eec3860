//! An image that does one thing to the kernel it runs on, named by `check=`, for the end-to-end
//! tests.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod bare {
    use alloc::boxed::Box;
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use alloc::vec::Vec;
    use core::arch::asm;
    use core::array::from_fn;
    use core::convert::Infallible;
    use core::future::Future;
    use core::hint::black_box;
    use core::pin::Pin;
    use core::str::FromStr;
    use core::sync::atomic::{AtomicBool, Ordering};
    use core::task::{Context, Waker};

    use embassy_executor::Spawner;
    use embassy_futures::yield_now;
    use embassy_time::{Duration, Instant, Timer};
    use unikernel::checksum::Sum;
    use unikernel::pci::Root;
    use unikernel::{Kernel, irq, power, println, pvpanic};

    unikernel::entry!(main);

    fn main(kernel: Kernel, spawner: Spawner) {
        let check = kernel.command_line.value("check", Name([0; 16]));
        kernel.command_line.finish();
        let root = kernel.ecam.first().map(Root::from_ecam);
        let devices = root.and_then(Result::ok).map(|root| root.enumerate().devices);
        for device in devices.unwrap_or_default() {
            let is_taken = pvpanic::take_over(&device).expect("a register in memory");
            assert!(!is_taken || device.ids() == (0x1b36, 0x0011));
        }
        spawner.spawn(run(check).expect("the pool has room for its one task"));
    }

    /// A short name, so that it needs no heap.
    #[derive(Clone, Copy)]
    struct Name([u8; 16]);

    impl FromStr for Name {
        type Err = Infallible;

        fn from_str(text: &str) -> Result<Self, Infallible> {
            let mut name = [0; 16];
            let len = text.len().min(name.len());
            name[..len].copy_from_slice(&text.as_bytes()[..len]);
            Ok(Self(name))
        }
    }

    #[embassy_executor::task]
    async fn run(check: Name) {
        let name = core::str::from_utf8(&check.0).unwrap_or_default().trim_end_matches('\0');
        match name {
            "timer" => timer().await,
            "line" => line().await,
            "clock" => clock().await,
            "storm" => storm().await,
            "checksum" => checksum(),
            "flood" => flood(),
            "idle" => println!("check: idle"),
            "exit" => power::exit(5),
            "panic" => {
                log::debug!("check: the level keeps this off the console");
                panic!("on purpose")
            }
            "spin" => {
                spin(3500);
                println!("check: spun");
            }
            "turns" => turns().await,
            "overflow" => println!("{}", overflow(0)),
            // SAFETY: none of these is sound: the test is that the machine ends with a dump.
            "null-write" => unsafe {
                core::ptr::without_provenance_mut::<u64>(8).write_volatile(1)
            },
            // SAFETY: as above.
            "write-text" => unsafe { (main as *mut u8).write_volatile(0x90) },
            // SAFETY: as above.
            "run-data" => unsafe { asm!("call {}", in(reg) check.0.as_ptr()) },
            // SAFETY: as above.
            "opcode" => unsafe { asm!("ud2") },
            _ => panic!("no such check: {name}"),
        }
        if name != "idle" {
            power::exit(0);
        }
    }

    /// Timers fire in order and not before their time; time goes forward.
    async fn timer() {
        let start = Instant::now();
        for ms in [1, 30, 5, 0, 100] {
            let before = Instant::now();
            Timer::after_millis(ms).await;
            let passed = before.elapsed();
            assert!(passed.as_millis() >= ms, "{ms} ms took {passed}");
        }
        println!("check: timer after {} ms", start.elapsed().as_millis());
    }

    /// On a machine whose clock counts instructions, one each nanosecond.
    fn checksum() {
        const SUMS: u64 = 1000;
        let segment = [0x5a; 1460];
        let start = Instant::now();
        for _ in 0..SUMS {
            black_box(Sum::of(black_box(&segment)).folded());
        }
        let each = start.elapsed().as_micros() * 1000 / SUMS;
        println!("check: checksum of {} bytes in {each} ns", segment.len());
        assert!(each < 700, "that is one byte after the other, or nearly so");
    }

    /// Prints more than anything between the machine and somebody who does not read takes.
    fn flood() {
        let start = Instant::now();
        for line in 0..20_000 {
            println!("check: line {line:05} of a flood that nobody reads, ever, at all");
        }
        assert!(start.elapsed() < Duration::from_secs(20), "that was waited for");
    }

    /// Timers whose wakers are counted, and whose last owner the timer's queue is, while memory is
    /// given out and taken back all the time: the heap is in use when most of them expire.
    async fn storm() {
        let start = Instant::now();
        let mut wakes = 0;
        while start.elapsed().as_millis() < 1000 {
            let woken = Arc::new(Woken(AtomicBool::new(false)));
            let left = Arc::downgrade(&woken);
            let waker = Waker::from(woken);
            let mut timer = Timer::after_micros(50);
            let is_pending =
                Pin::new(&mut timer).poll(&mut Context::from_waker(&waker)).is_pending();
            drop(waker);
            let deadline = Instant::now() + Duration::from_secs(5);
            while left.strong_count() != 0 {
                assert!(Instant::now() < deadline, "the waker is neither run nor dropped");
                for _ in 0..100 {
                    let blocks: [_; 8] = from_fn(|size| Vec::<u8>::with_capacity(16 << size));
                    black_box(&blocks);
                }
                yield_now().await;
            }
            wakes += u32::from(is_pending);
        }
        println!("check: storm of {wakes} timers");
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            // Memory of its own, given back at once: what a handler must not do.
            black_box(Box::new(self.0.swap(true, Ordering::Relaxed)));
        }
    }

    /// Says the time for ever, to be watched from outside, across a migration too.
    async fn clock() {
        for tick in 0u64.. {
            println!("check: tick {tick} at {} ms", Instant::now().as_millis());
            Timer::after_millis(100).await;
        }
    }

    /// Keeps all other tasks waiting for so long.
    fn spin(ms: u64) {
        let start = Instant::now();
        while start.elapsed().as_millis() < ms {
            core::hint::spin_loop();
        }
    }

    /// Hardly ever waits, but lets others have their turn, for ever.
    async fn turns() {
        for turn in 0u64.. {
            spin(300);
            // The console has its turns between these, and writes a few bytes in each.
            if turn.is_multiple_of(10) {
                println!("check: turn {turn}");
            }
            yield_now().await;
        }
    }

    /// The PC's interval timer, as firmware left it, ticks on line 0 at 18.2 Hz.
    async fn line() {
        let line = irq::legacy(0).expect("every PC has line 0");
        let start = Instant::now();
        for _ in 0..5 {
            line.wait().await;
            line.unmask();
        }
        println!("check: line 0 came 5 times in {} ms", start.elapsed().as_millis());
    }

    #[inline(never)]
    fn overflow(depth: u64) -> u64 {
        let frame = core::hint::black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { overflow(depth + 1) + frame[depth as usize % 64] }
    }
}

/// Only there so that the example also compiles on a host.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("boot-check boots as a virtual machine: see tests/end-to-end/src/kernel.rs");
}
