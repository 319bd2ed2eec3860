//! Boots `examples/boot-check.rs` in QEMU, in software emulation, and reads its console.
//!
//! Needs `qemu-system-x86_64` (another one by `GODWIT_QEMU`, with arguments) and the
//! `x86_64-unknown-none` target, so it runs only when asked:
//! `cargo test -p unikernel --test boot -- --ignored`.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TARGET: &str = "x86_64-unknown-none";
/// For a boot that takes two seconds where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(20);

/// `isa-debug-exit` turns the kernel's code for a failure, 1, into this.
const DIED: Option<i32> = Some(3);

/// How a machine ended.
struct End {
    console: String,
    code: Option<i32>,
}

impl End {
    #[track_caller]
    fn assert(&self, code: Option<i32>, lines: &[&str]) {
        let mut rest = self.console.as_str();
        for line in lines {
            let at = rest.find(line).unwrap_or_else(|| {
                panic!("{line:?} is missing, or not in its place, in\n{}", self.console)
            });
            rest = &rest[at + line.len()..];
        }
        assert_eq!(self.code, code, "QEMU's exit code; the console was\n{}", self.console);
    }
}

/// Boots the image with a command line on q35 until it ends.
fn boot(append: &str, options: &[&str]) -> End {
    let (mut machine, console) = start(append, options);
    let start = Instant::now();
    let code = loop {
        if let Some(status) = machine.try_wait().expect("it is our child") {
            break status.code();
        }
        if start.elapsed() > PATIENCE {
            machine.kill().expect("it is our child");
        }
        thread::sleep(TICK);
    };
    End { console: read(&console), code }
}

/// Starts QEMU with its console in a file.
fn start(append: &str, options: &[&str]) -> (Child, PathBuf) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("boot-{}.console", COUNT.fetch_add(1, Ordering::Relaxed));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let console = File::create(&path).expect("cargo's directory for tests is writable");

    let qemu = env::var("GODWIT_QEMU").unwrap_or("qemu-system-x86_64".into());
    let mut words = qemu.split_whitespace();
    let program = words.next().expect("GODWIT_QEMU names a program");
    let machine = Command::new(program)
        .args(words)
        .args("-M q35 -accel tcg -m 64 -nodefaults -display none -no-reboot".split(' '))
        .args(["-serial", "stdio", "-append", append])
        .arg("-kernel")
        .arg(image())
        .args(options)
        .stdin(Stdio::null())
        .stdout(console)
        .spawn();
    let machine = machine.unwrap_or_else(|error| {
        panic!("{program}: {error}; install qemu-system-x86 or name another in GODWIT_QEMU")
    });
    (machine, path)
}

fn read(console: &Path) -> String {
    String::from_utf8_lossy(&fs::read(console).expect("created at the start")).into_owned()
}

/// What QEMU's monitor says about the processor.
fn registers(monitor: &Path) -> String {
    let stream = UnixStream::connect(monitor).expect("QEMU listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
    (&stream).write_all(b"info registers\n").expect("QEMU listens");
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.take_while(|line| !line.starts_with("GDT=")).collect()
}

/// Builds the image, once.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--package", "unikernel", "--example", "boot-check"])
            .args(["--target", TARGET, "--message-format", "json"])
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let messages = String::from_utf8(built.stdout).expect("JSON is UTF-8");
        let executable = messages
            .lines()
            .filter_map(|line| line.split_once(r#""executable":""#))
            .filter_map(|(_, path)| path.split_once('"'))
            .map(|(path, _)| PathBuf::from(path))
            .next_back();
        executable.expect("cargo names the image")
    })
}

const DEBUG_EXIT: [&str; 2] = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"];

macro_rules! boot_tests {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)*) => {
        $(
            $(#[$doc])*
            #[test]
            #[ignore = "boots a virtual machine"]
            fn $name() $body
        )*
    };
}

boot_tests! {
    /// The whole way up, with every step's own words, and an orderly end.
    fn boots_and_keeps_time() {
        boot("log=debug check=timer", &[]).assert(
            Some(0),
            &["memory: pool", "clock: TSC at", "timer:", "booted in", "check: timer after"],
        );
    }

    fn bad_words_are_named_and_the_boot_goes_on() {
        boot("swiotlb=lots chekc=timer log=loud marking=maybe swiotlb=900G check=timer", &[]).assert(
            Some(0),
            &[
                "command line: log=loud: the levels are",
                "command line: marking=maybe: ",
                "command line: swiotlb=900G: ",
                "change swiotlb=",
                "command line: chekc=timer: unknown key; ignored",
                "check: timer after",
            ],
        );
    }

    /// Wakers that allocate and free run outside of interrupt handlers, where the heap may be in use.
    fn timers_that_use_the_heap_do_no_harm_to_it() {
        boot("check=storm", &DEBUG_EXIT).assert(Some(0), &["check: storm of"]);
    }

    fn legacy_interrupts_arrive() {
        boot("check=line", &[]).assert(Some(0), &["check: line 0 came 5 times"]);
    }

    fn more_processors_and_memory_do_no_harm() {
        boot("check=timer", &["-m", "5G", "-smp", "2", "-cpu", "max"])
            .assert(Some(0), &["check: timer after"]);
    }

    fn a_panic_says_where_and_ends_the_machine() {
        let lines = ["panicked at unikernel/examples/boot-check.rs:", "on purpose", "  from 0x"];
        boot("check=panic", &DEBUG_EXIT).assert(DIED, &lines);
        // Without the exit device the machine is switched off all the same.
        boot("check=panic", &[]).assert(Some(0), &lines);
    }

    fn an_exit_code_reaches_the_host() {
        boot("check=exit", &DEBUG_EXIT).assert(Some(11), &[]);
    }

    fn a_stack_overflow_hits_the_guard_page() {
        boot("check=overflow", &DEBUG_EXIT)
            .assert(DIED, &["exception: double fault", "the stack overflowed", "  from 0x"]);
    }

    fn a_null_pointer_cannot_be_written() {
        boot("check=null-write", &DEBUG_EXIT)
            .assert(DIED, &["exception: page fault", "write to a page that forbids it: 0x8", "cr2"]);
    }

    fn code_cannot_be_written() {
        boot("check=write-text", &DEBUG_EXIT)
            .assert(DIED, &["exception: page fault", "write to a page that forbids it"]);
    }

    fn data_cannot_be_run() {
        boot("check=run-data", &DEBUG_EXIT)
            .assert(DIED, &["exception: page fault", "instruction fetch from a page that forbids it"]);
    }

    fn an_invalid_opcode_is_dumped() {
        boot("check=opcode", &DEBUG_EXIT).assert(DIED, &["exception: invalid opcode", "rip 0000"]);
    }

    fn too_little_memory_names_the_remedy() {
        boot("", &["-m", "8", DEBUG_EXIT[0], DEBUG_EXIT[1]])
            .assert(DIED, &["no room below 4 GiB for a DMA pool of 16M", "give the machine ", "M of memory"]);
    }

    fn a_32_bit_processor_is_refused_by_name() {
        let says = "this processor has no 64-bit mode";
        let options = ["-cpu", "qemu32", DEBUG_EXIT[0], DEBUG_EXIT[1]];
        boot("", &options).assert(DIED, &[says]);
    }

    /// Idle means asleep, in `hlt`: QEMU's monitor shows whether the processor is.
    fn an_idle_machine_sleeps() {
        let socket = Path::new(env!("CARGO_TARGET_TMPDIR")).join("idle.monitor");
        let monitor = format!("unix:{},server=on,wait=off", socket.display());
        let (mut machine, console) = start("check=idle", &["-monitor", &monitor]);
        let begin = Instant::now();
        while !read(&console).contains("check: idle") {
            assert!(begin.elapsed() < PATIENCE, "the console is\n{}", read(&console));
            thread::sleep(TICK);
        }
        // It may be on its way to sleep at the first looks.
        let asleep = (0..50).any(|_| {
            thread::sleep(TICK);
            registers(&socket).contains("HLT=1")
        });
        machine.kill().expect("it is our child");
        machine.wait().expect("it is our child");
        assert!(asleep, "the processor never halts");
    }
}
