//! An image that does one thing to the kernel it runs on, named by `check=`, for the end-to-end tests.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod bare {
    use core::arch::asm;
    use core::convert::Infallible;
    use core::str::FromStr;

    use embassy_executor::Spawner;
    use embassy_time::{Instant, Timer};
    use unikernel::{Kernel, irq, power, println};

    unikernel::entry!(main);

    fn main(kernel: Kernel, spawner: Spawner) {
        let check = kernel.command_line.value("check", Name([0; 16]));
        kernel.command_line.finish();
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
            "idle" => println!("check: idle"),
            "exit" => power::exit(5),
            "panic" => panic!("on purpose"),
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

    /// Says the time for ever, to be watched from outside, across a migration too.
    async fn clock() {
        for tick in 0u64.. {
            println!("check: tick {tick} at {} ms", Instant::now().as_millis());
            Timer::after_millis(100).await;
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
    eprintln!("boot-check boots as a virtual machine: see tests/boot.rs");
}
