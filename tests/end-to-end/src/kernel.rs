//! Boots the kernel with an image that does one thing to it, named by `check=`
//! (`unikernel/examples/boot-check.rs`), in software emulation, and reads its console.

use std::{
    io::Read,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    build::crates,
    guest::{Guest, machine},
    qmp::{Cont, Qmp},
};

use crate::{
    monitor::Monitor,
    suite::{MINUTES, Suite},
};

/// What QEMU's exit code is to be: `isa-debug-exit` makes `code << 1 | 1` of the kernel's.
#[derive(Clone, Copy)]
enum Ends {
    /// Without an exit device, or with no complaint.
    Well,
    /// With the kernel's code for a failure, which is 1.
    Died,
    /// With another code of the kernel's.
    With(i32),
}

/// What becomes of the image with a command line, in a machine with these options more.
struct Case {
    name: &'static str,
    append: &'static str,
    options: &'static [&'static str],
    ends: Ends,
    /// On the console, in this order.
    says: &'static [&'static str],
}

const DEBUG_EXIT: &[&str] = &["-device", "isa-debug-exit,iobase=0xf4,iosize=4"];

const CASES: &[Case] = &[
    Case {
        name: "boots and keeps time",
        append: "log=debug check=timer",
        options: &[],
        ends: Ends::Well,
        says: &["memory: pool", "clock: TSC at", "timer:", "booted in", "check: timer after"],
    },
    Case {
        name: "names bad words and boots",
        append: "swiotlb=lots chekc=timer log=loud marking=maybe swiotlb=900G check=timer",
        options: &[],
        ends: Ends::Well,
        says: &[
            "command line: log=loud: the levels are",
            "command line: marking=maybe: ",
            "command line: swiotlb=900G: ",
            "change swiotlb=",
            "command line: chekc=timer: unknown key; ignored",
            "check: timer after",
        ],
    },
    // Wakers that allocate and free run outside of interrupt handlers, where the heap may be in
    // use.
    Case {
        name: "keeps its heap whole under a storm of timers",
        append: "check=storm",
        options: DEBUG_EXIT,
        ends: Ends::Well,
        says: &["check: storm of"],
    },
    Case {
        name: "sums up a segment in few instructions",
        append: "check=checksum",
        options: &["-icount", "shift=0", DEBUG_EXIT[0], DEBUG_EXIT[1]],
        ends: Ends::Well,
        says: &["check: checksum of 1460 bytes in"],
    },
    Case {
        name: "gets legacy interrupts",
        append: "check=line",
        options: &[],
        ends: Ends::Well,
        says: &["check: line 0 came 5 times"],
    },
    Case {
        name: "is not harmed by more processors and memory",
        append: "check=timer",
        options: &["-m", "5G", "-smp", "2", "-cpu", "max"],
        ends: Ends::Well,
        says: &["check: timer after"],
    },
    Case {
        name: "says where it panics, and ends",
        append: "check=panic",
        options: DEBUG_EXIT,
        ends: Ends::Died,
        says: &["panicked at unikernel/examples/boot-check.rs:", "on purpose", "  from 0x"],
    },
    Case {
        name: "says after a panic what was logged last, also what the console was spared",
        append: "log=warn check=panic",
        options: DEBUG_EXIT,
        ends: Ends::Died,
        says: &[
            "on purpose",
            "  from 0x",
            "the last lines before that:\n  | ",
            " DEBUG ",
            "check: the level keeps this off the console\n",
        ],
    },
    Case {
        name: "says where it is when a task does not end its turn, and goes on",
        append: "watchdog=1 check=spin",
        options: DEBUG_EXIT,
        ends: Ends::Well,
        says: &["watchdog: no task has had its turn for 1 s: at 0x", "  from 0x", "check: spun"],
    },
    Case {
        name: "switches off after a panic without an exit device",
        append: "check=panic",
        options: &[],
        ends: Ends::Well,
        says: &["panicked at unikernel/examples/boot-check.rs:", "on purpose", "  from 0x"],
    },
    Case {
        name: "gives its exit code to the host",
        append: "check=exit",
        options: DEBUG_EXIT,
        ends: Ends::With(5),
        says: &[],
    },
    Case {
        name: "hits the guard page when the stack overflows",
        append: "check=overflow",
        options: DEBUG_EXIT,
        ends: Ends::Died,
        says: &["exception: double fault", "the stack overflowed", "  from 0x"],
    },
    Case {
        name: "cannot write to a null pointer",
        append: "check=null-write",
        options: DEBUG_EXIT,
        ends: Ends::Died,
        says: &["exception: page fault", "write to a page that forbids it: 0x8", "cr2"],
    },
    Case {
        name: "cannot write to code",
        append: "check=write-text",
        options: DEBUG_EXIT,
        ends: Ends::Died,
        says: &["exception: page fault", "write to a page that forbids it"],
    },
    Case {
        name: "cannot run data",
        append: "check=run-data",
        options: DEBUG_EXIT,
        ends: Ends::Died,
        says: &["exception: page fault", "instruction fetch from a page that forbids it"],
    },
    Case {
        name: "dumps an invalid opcode",
        append: "check=opcode",
        options: DEBUG_EXIT,
        ends: Ends::Died,
        says: &["exception: invalid opcode", "rip 0000"],
    },
    Case {
        name: "names the remedy for too little memory",
        append: "",
        options: &["-m", "8", DEBUG_EXIT[0], DEBUG_EXIT[1]],
        ends: Ends::Died,
        says: &["left for the heap, which needs 8M", "M of memory; the machine stops here"],
    },
    Case {
        name: "refuses a 32-bit processor by name",
        append: "",
        options: &["-cpu", "qemu32", DEBUG_EXIT[0], DEBUG_EXIT[1]],
        ends: Ends::Died,
        says: &["this processor has no 64-bit mode"],
    },
];

pub(crate) fn add(suite: &mut Suite) {
    for case in CASES {
        suite.test(&format!("the kernel {}", case.name), MINUTES, |log| check(case, log));
    }
    suite.test("the kernel sleeps when it is idle", MINUTES, sleeps);
    let name = "the kernel says where it is at a non-maskable interrupt, and goes on";
    suite.test(name, MINUTES, goes_on_after_nmi);
    let name = "the kernel has no complaint of tasks that end their turns, nor of a stop between";
    suite.test(name, MINUTES, no_complaint);
    suite.test("the kernel tells its hypervisor that it panicked", MINUTES, tells_of_panic);
    suite.test("the kernel counts the time that it was stopped", MINUTES, counts_pauses);
    suite.test("the kernel does not wait for a console that nobody reads", MINUTES, unread);
}

/// The image on q35, with the console for a serial port.
pub(crate) fn boot(log: &Path, append: &str, options: &[&str]) -> Result<Guest> {
    let mut line = machine::qemu()?.command_line();
    let words = "-M q35 -accel tcg -m 64 -nodefaults -display none -no-reboot".split(' ');
    line.extend(words.chain(["-append", append]).map(str::to_owned));
    line.extend(["-kernel".into(), crates::boot_check()?.display().to_string()]);
    line.extend(options.iter().map(|&option| option.to_owned()));
    Guest::start(line, None, log)
}

fn check(case: &Case, log: &Path) -> Result<String> {
    let (status, console) = boot(log, case.append, case.options)?.wait_for_end()?;
    let mut rest = console.as_str();
    for line in case.says {
        let at = rest.find(line);
        let at = at.with_context(|| format!("{line:?} is missing, or not in its place"))?;
        rest = &rest[at + line.len()..];
    }
    ensure!(
        case.says.iter().any(|line| line.contains("watchdog")) || !console.contains("watchdog: "),
        "its watchdog barks"
    );
    let code = match case.ends {
        Ends::Well => 0,
        Ends::Died => 1 << 1 | 1,
        Ends::With(code) => code << 1 | 1,
    };
    ensure!(status.code() == Some(code), "QEMU ended with {status}, not {code}");
    Ok(String::new())
}

/// Idle means asleep, in `hlt`: QEMU's monitor shows whether the processor is.
fn sleeps(log: &Path) -> Result<String> {
    let monitor = Monitor::new()?;
    let mut guest = boot(log, "check=idle", &monitor.options().each_ref().map(String::as_str))?;
    guest.wait_for("check: idle")?;
    // It may be on its way to sleep at the first looks.
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(20));
        if monitor.ask("info registers", "GDT=")?.contains("HLT=1") {
            return Ok(String::new());
        }
    }
    bail!("the processor never halts")
}

/// Twice, since a processor takes another such interrupt only once the first is over.
fn goes_on_after_nmi(log: &Path) -> Result<String> {
    let monitor = Monitor::new()?;
    let mut guest = boot(log, "check=clock", &monitor.options().each_ref().map(String::as_str))?;
    for last in [2, 12] {
        guest.wait_for(&format!("check: tick {last} "))?;
        let _conversation = monitor.execute("nmi")?;
        guest.wait_for(&format!("check: tick {} ", last + 5))?;
    }
    let console = guest.console();
    let said = console.matches("nmi: at 0x").count();
    ensure!(said == 2, "it says {said} times where it was");
    let (_, after) = console.split_once("nmi: at 0x").context("it has just been counted")?;
    let first = after.lines().nth(1).unwrap_or_default();
    ensure!(first.starts_with("  from 0x"), "no way there is told, but {first:?}");
    Ok(String::new())
}

/// Each turn is shorter than what the watchdog waits for, and there is one after the other. Between
/// two of them the machine is stopped for longer.
fn no_complaint(log: &Path) -> Result<String> {
    let monitor = Monitor::new()?;
    let options = monitor.options();
    let mut guest = boot(log, "watchdog=2 check=turns", &options.each_ref().map(String::as_str))?;
    guest.wait_for("check: turn 10")?;
    let stop = monitor.execute("stop")?;
    thread::sleep(Duration::from_secs(5));
    drop(stop);
    let _conversation = monitor.execute("cont")?;
    guest.wait_for("check: turn 30")?;
    ensure!(!guest.console().contains("watchdog: "), "it complains of turns that ended");
    Ok(String::new())
}

/// By the panic device, whose event says so. A machine that is switched off says nothing there.
fn tells_of_panic(log: &Path) -> Result<String> {
    for (check, is_told, code) in [("exit", false, 5 << 1 | 1), ("panic", true, 1 << 1 | 1)] {
        let directory = tempfile::Builder::new().prefix("godwit-panic-").tempdir()?;
        let socket = directory.path().join("socket");
        let qmp = format!("unix:{},server=on,wait=off", socket.display());
        let line = format!("-S -device pvpanic-pci -action panic=none -qmp {qmp}");
        let options: Vec<&str> = line.split(' ').chain(DEBUG_EXIT.iter().copied()).collect();
        let mut guest = boot(log, &format!("check={check}"), &options)?;
        let mut monitor = Qmp::connect("guest", connected(&socket)?)?;
        monitor.execute(&Cont {})?;
        let event = monitor.wait_event("GUEST_PANICKED", Duration::from_secs(60));
        ensure!(matches!(event, Ok(Some(_))) == is_told, "{check}: {event:?}");
        let (status, _) = guest.wait_for_end()?;
        ensure!(status.code() == Some(code), "{check}: QEMU ended with {status}");
    }
    Ok(String::new())
}

/// A connection to a socket that is about to be there.
fn connected(socket: &Path) -> Result<UnixStream> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Ten seconds, of which the clocks that stop with the machine know nothing.
fn counts_pauses(log: &Path) -> Result<String> {
    const PAUSE: u64 = 10;
    let monitor = Monitor::new()?;
    let mut guest = boot(log, "check=clock", &monitor.options().each_ref().map(String::as_str))?;
    // The clocks have been compared by then.
    let before = millis(&guest.wait_for("check: tick 20 ")?)?;
    // Each conversation is kept up until it has had its effect.
    let stop = monitor.execute("stop")?;
    thread::sleep(Duration::from_secs(PAUSE));
    drop(stop);
    let _conversation = monitor.execute("cont")?;
    guest.wait_for("the machine was stopped for about")?;
    let after = millis(&guest.wait_for("check: tick 60 ")?)?;
    let unseen = (after - before).saturating_sub(40 * 100);
    ensure!(unseen >= (PAUSE - 2) * 1000, "of {PAUSE} s it counts {unseen} ms");
    Ok(format!("{unseen} ms of {PAUSE} s"))
}

/// The time that a line of `check=clock` says.
pub(crate) fn millis(line: &str) -> Result<u64> {
    let number = line.split_whitespace().rev().nth(1);
    number.and_then(|number| number.parse().ok()).with_context(|| format!("no time in {line:?}"))
}

/// Its first serial port has a reader who never reads; the second, which it does not use, is what
/// is listened to.
fn unread(log: &Path) -> Result<String> {
    let directory = tempfile::Builder::new().prefix("godwit-unread-").tempdir()?;
    let socket = directory.path().join("socket");
    let serial = format!("unix:{},server=on,wait=on", socket.display());
    let mut guest = boot(log, "check=flood", &["-serial", &serial, DEBUG_EXIT[0], DEBUG_EXIT[1]])?;
    let mut reader = connected(&socket)?;
    let (status, _) = guest.wait_for_end()?;
    ensure!(status.success(), "QEMU ended with {status}");
    let mut arrived = Vec::new();
    reader.read_to_end(&mut arrived)?;
    ensure!(!arrived.is_empty() && arrived.len() < 1_000_000, "there was room for everything");
    Ok(format!("{} KiB of it arrived", arrived.len() >> 10))
}
